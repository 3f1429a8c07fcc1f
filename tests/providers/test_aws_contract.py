"""AWS's driver, through the real boto3, against the EC2 simulator."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address, ip_network

import boto3
import pytest

from cloudsim.server import buckets
from cloudsim.server.app import Settings
from cloudsim.threaded import Simulator, simulator
from providers.contract import DriverContract
from providers.contract.world import Truth, wanted
from providers.published import main_policy
from underlay.core.cloud import errors
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.limits import CallGate
from underlay.core.cloud.model import (
    AddressRequest,
    Egress,
    InterfaceState,
    IPNetwork,
    Kind,
    Limits,
    NetworkInterface,
    Owner,
    SubnetQuery,
)
from underlay.core.cloud.registry import ProviderSettings, load
from underlay.core.cloud.tags import of_owner
from underlay.core.identity import InstanceId, InterfaceId, ReservationId, SubnetId
from underlay.core.runtime.clock import RealClock
from underlay.providers.aws.calls import RATES, Ec2
from underlay.providers.aws.convert import CreateReply, Nothing

REGION = "eu-central-1"
ZONE = "eu-central-1a"
NO_INSTANCE = InstanceId("i-0123456789abcdef0")
NO_SUBNET = SubnetId("subnet-0123456789abcdef0")
NO_RESERVATION = ReservationId("scr-0123456789abcdef0")
BLOCK, OTHER_BLOCK = ip_network("10.0.1.64/28"), ip_network("10.0.1.128/28")
NO_INTERFACE = InterfaceId("eni-0123456789abcdef0")


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """Changes take a moment and reads lag behind writes, as at EC2, only faster."""
    with simulator(Settings(region=REGION, attach_seconds=0.1, lag_seconds=0.1)) as running:
        yield running


def settings(url: str, gate: CallGate, *, access_key: str = "AKIAUNDERLAY") -> ProviderSettings:
    return ProviderSettings(
        name="test",
        region=REGION,
        endpoint=url,
        credentials={"access_key_id": access_key, "secret_access_key": "secret"},
        gate=gate,
        cluster="kube-system-uid",
    )


@dataclass(slots=True, kw_only=True)
class Ec2Cloud:
    """An account at the simulator as the contract wants it."""

    sim: Simulator
    driver: ProviderDriver
    gate: CallGate
    lease: list[bool]
    provider_id: str
    instance: InstanceId
    owner: Owner
    network: str
    main_table: str
    subnet: SubnetId
    tiny: SubnetId
    tiny_free: int
    groups: Sequence[str]
    group_tags: Mapping[str, str]
    zone: str = ZONE
    type: str = "t3.medium"
    limits: Limits = field(
        default_factory=lambda: Limits(interfaces=3, ipv4_per_interface=6, ipv6_per_interface=6, prefixes=True)
    )
    writes: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {
            "create_interface": (
                "CreateNetworkInterface",
                "AttachNetworkInterface",
                "ModifyNetworkInterfaceAttribute",
            ),
            "adopt": ("CreateTags",),
            "end_with_instance": ("ModifyNetworkInterfaceAttribute",),
            "delete_interface": ("DetachNetworkInterface", "DeleteNetworkInterface"),
            "set_security_groups": ("ModifyNetworkInterfaceAttribute",),
            "reserve": ("CreateSubnetCidrReservation",),
            "unreserve": ("DeleteSubnetCidrReservation",),
        }
    )
    assigns: Mapping[Kind, str] = field(
        default_factory=lambda: {
            Kind.IPV4: "AssignPrivateIpAddresses",
            Kind.IPV4_PREFIX: "AssignPrivateIpAddresses",
            Kind.IPV6: "AssignIpv6Addresses",
            Kind.IPV6_PREFIX: "AssignIpv6Addresses",
        }
    )
    unassigns: Mapping[Kind, str] = field(
        default_factory=lambda: {
            Kind.IPV4: "UnassignPrivateIpAddresses",
            Kind.IPV4_PREFIX: "UnassignPrivateIpAddresses",
            Kind.IPV6: "UnassignIpv6Addresses",
            Kind.IPV6_PREFIX: "UnassignIpv6Addresses",
        }
    )
    moves: Mapping[Kind, Sequence[str]] = field(
        default_factory=lambda: {
            Kind.IPV4: ("AssignPrivateIpAddresses",),
            Kind.IPV6: ("UnassignIpv6Addresses", "AssignIpv6Addresses"),
        }
    )
    block: IPNetwork = BLOCK
    other_block: IPNetwork = OTHER_BLOCK
    strange_instance: InstanceId = NO_INSTANCE
    strange_subnet: SubnetId = NO_SUBNET
    strange_interface: InterfaceId = NO_INTERFACE
    strange_reservation: ReservationId = NO_RESERVATION
    strange_provider_ids: Sequence[str] = (
        "",
        "i-0abc",
        "aws:///i-0abc",
        "azure:///sub/vm",
        "aws:///eu-central-1a/vm-1",
    )

    async def another_driver(self, gate: CallGate) -> ProviderDriver:
        return await load("aws", settings(self.sim.url, gate))

    def by_hand(self, tags: Mapping[str, str]) -> InterfaceId:
        ec2 = boto3.client(
            "ec2",
            region_name=REGION,
            endpoint_url=self.sim.url,
            aws_access_key_id="AKIAUNDERLAY",
            aws_secret_access_key="any",  # noqa: S106 the simulator checks none
        )
        labels = [{"Key": key, "Value": value} for key, value in tags.items()]
        of = [{"ResourceType": "network-interface", "Tags": labels}]
        made = ec2.create_network_interface(SubnetId=self.subnet, TagSpecifications=of)  # type: ignore[arg-type]
        ec2.close()
        return InterfaceId(made["NetworkInterface"]["NetworkInterfaceId"])

    def interfaces(self) -> list[Truth]:
        rows = self.sim.control("GET", "/table")["interfaces"]
        return [
            Truth(
                id=row["id"],
                items=frozenset(ip_address(text) for text in row["addresses"] + row["ipv6_addresses"])
                | frozenset(ip_network(text) for text in row["prefixes"] + row["ipv6_prefixes"]),
                tags=row["tags"],
                groups=tuple(row["groups"]),
                network_card=(row["attachment"] or {}).get("network_card", 0),
                instance=(row["attachment"] or {}).get("instance", ""),
                ends_with_instance=(row["attachment"] or {}).get("delete_on_termination", False),
            )
            for row in rows
            if row["subnet"] in {self.subnet, self.tiny} and (row["attachment"] or {}).get("device_index") != 0
        ]

    def truth(self, interface: str) -> Truth:
        return next(item for item in self.interfaces() if item.id == interface)

    def blocks(self) -> Mapping[str, str]:
        rows = self.sim.control("GET", "/table")["subnets"]
        return {held["cidr"]: held["type"] for row in rows if row["id"] == self.subnet for held in row["reservations"]}

    def hang(self, operation: str) -> None:
        self.sim.control("POST", "/faults", {"operation": operation, "kind": "hang"})

    def lose_reply(self, operation: str) -> None:
        self.sim.control("POST", "/faults", {"operation": operation, "kind": "lost_reply"})

    def throttle(self, operation: str, times: int) -> None:
        fault = {"operation": operation, "kind": "error", "code": "RequestLimitExceeded", "count": times}
        self.sim.control("POST", "/faults", fault)

    def deny(self, operation: str) -> None:
        key = {"access_key": "AKIAUNDERLAY", "allow": main_policy(), "deny": [operation]}
        self.sim.control("POST", "/credentials", key)

    async def terminate(self) -> None:
        self.sim.control("DELETE", f"/instances/{self.instance}")


@pytest.fixture
async def cloud(sim: Simulator) -> AsyncIterator[Ec2Cloud]:
    """A network and an instance of the test's own; faults and keys of an earlier test are gone. The driver may do what
    docs/aws.md says, and nothing else.
    """
    sim.control("DELETE", "/faults")
    sim.control("DELETE", "/credentials")
    made_vpc = sim.control("POST", "/vpcs", {"cidr": "10.0.0.0/16", "ipv6_cidr": "2001:db8:1::/56"})
    vpc = made_vpc["id"]
    place = {"vpc": vpc, "zone": ZONE, "ipv6_cidr": "next"}
    subnet = sim.control("POST", "/subnets", {**place, "cidr": "10.0.1.0/24"})
    tiny = sim.control("POST", "/subnets", {**place, "cidr": "10.0.2.0/28"})
    group_tags = {"pods": "yes"}
    labels: tuple[dict[str, str], ...] = ({**group_tags, "team": "blue"}, {"pods": "no"}, {})
    groups = [
        sim.control("POST", "/security-groups", {"vpc": vpc, "name": f"group {number}", "tags": tags})["id"]
        for number, tags in enumerate(labels)
    ]
    machine = sim.control("POST", "/instances", {"type": "t3.medium", "subnet": subnet["id"]})
    sim.control("POST", "/credentials", {"access_key": "AKIAUNDERLAY", "allow": main_policy()})
    lease = [True]
    gate = CallGate(clock=RealClock(), lease=lambda: lease[0], timeout_seconds=15, first_wait_seconds=0.03)
    driver = await load("aws", settings(sim.url, gate))
    made = Ec2Cloud(
        sim=sim,
        driver=driver,
        gate=gate,
        lease=lease,
        provider_id=machine["providerID"],
        instance=InstanceId(machine["id"]),
        owner=Owner(cluster=f"cluster of {machine['id']}", node="node-uid"),
        network=vpc,
        main_table=made_vpc["route_table"],
        subnet=SubnetId(subnet["id"]),
        tiny=SubnetId(tiny["id"]),
        tiny_free=tiny["free"],
        groups=groups,
        group_tags=group_tags,
    )
    # Reads lag: the test begins when the instance is seen.
    async with asyncio.timeout(10):
        while not await driver.instances([made.instance]):
            pass
    yield made
    await driver.close()


class TestAwsDriver(DriverContract):
    """The contract."""


class TestEc2:
    """What is EC2's own."""

    async def test_the_contract_knows_every_write(self, cloud: Ec2Cloud) -> None:
        """Each operation that changes something belongs to a verb whose replies the contract loses, one by one."""
        told = {*cloud.assigns.values(), *cloud.unassigns.values()}.union(*cloud.writes.values(), *cloud.moves.values())

        assert told == {operation for operation in RATES if not operation.startswith(("Describe", "Get"))}

    async def test_gateway_is_the_first_host_address(self, cloud: Ec2Cloud) -> None:
        """The router of a subnet is at its network address plus one (VPC User Guide); that of IPv6 is not known."""
        (subnet,) = await cloud.driver.subnets(SubnetQuery(ids=(cloud.subnet,), tags={}))

        assert [cidr.prefixlen for cidr in subnet.cidrs] == [24, 64]
        assert subnet.gateways == (IPv4Address("10.0.1.1"), None)
        assert subnet.free == 251 - 1

    @pytest.mark.parametrize(
        ("type_", "expected"),
        [
            pytest.param(
                "t2.medium",
                Limits(interfaces=3, ipv4_per_interface=6, ipv6_per_interface=6, prefixes=False),
                id="Xen has no prefixes",
            ),
            pytest.param(
                "m5.metal",
                Limits(interfaces=15, ipv4_per_interface=50, ipv6_per_interface=50, prefixes=True),
                id="bare metal has prefixes without a hypervisor",
            ),
            pytest.param(
                "p4d.24xlarge",
                Limits(
                    interfaces=60, ipv4_per_interface=50, ipv6_per_interface=50, prefixes=True, cards=(15, 15, 15, 15)
                ),
                id="four network cards",
            ),
        ],
    )
    async def test_limits_of_types(self, cloud: Ec2Cloud, type_: str, expected: Limits) -> None:
        """EC2 User Guide: interfaces and addresses of instance types, prefixes on Nitro and bare metal, cards."""
        assert await cloud.driver.limits(type_) == expected

    async def test_another_network_card(self, cloud: Ec2Cloud) -> None:
        """An interface goes to the card asked for, and finds a free index there, whatever is on others."""
        machine = cloud.sim.control("POST", "/instances", {"type": "p4d.24xlarge", "subnet": cloud.subnet})
        want = replace(wanted(cloud), instance=InstanceId(machine["id"]), device_index=1)
        first, second, zeroth = [
            await cloud.driver.create_interface(replace(want, token=f"{want.token} {number}", network_card=card))
            for number, card in enumerate((2, 2, 0))
        ]

        places = [(item.network_card, item.device_index) for item in (first, second, zeroth)]
        assert places == [(2, 1), (2, 2), (0, 1)]
        assert not any(item.primary for item in (first, second, zeroth))

    @pytest.mark.parametrize(
        ("change", "special"),
        [
            ({"type": "trunk"}, True),
            ({"type": "efa-only"}, True),
            ({"type": "lambda"}, True),
            ({"type": "efa"}, False),
            ({"requester_managed": True}, True),
            ({}, False),
        ],
    )
    async def test_interfaces_of_services(self, cloud: Ec2Cloud, change: dict[str, object], special: bool) -> None:  # noqa: FBT001 pytest passes it by name
        """What a service of AWS made or runs is marked as such; an ordinary or EFA interface is anybody's."""
        made = await cloud.driver.create_interface(wanted(cloud))
        cloud.sim.control("PUT", f"/interfaces/{made.id}", change)

        await _until(cloud, made.id, lambda item: item.special is special)

    async def test_interfaces_tagged_as_not_ours(self, cloud: Ec2Cloud) -> None:
        """EKS's tag that forbids to manage an interface is heeded, also on one that has our tags; none is made with it,
        since there would soon be more and more of them.
        """
        tags = {"node.k8s.amazonaws.com/no_manage": "true"}
        with pytest.raises(errors.Rejected, match=r"spec\.interfaces\.tags"):
            await cloud.driver.create_interface(replace(wanted(cloud), tags=tags))
        assert cloud.interfaces() == []
        interface = cloud.by_hand({**tags, **of_owner(cloud.owner)})

        async with asyncio.timeout(10):
            while not (found := await cloud.driver.owned(cloud.owner)):
                pass
        assert [(item.id, item.special) for item in found] == [(interface, True)]

    @pytest.mark.parametrize(
        ("own", "main", "expected"),
        [
            ("internet-gateway", None, Egress.INTERNET_GATEWAY),
            ("nat-gateway", "internet-gateway", Egress.NAT),
            (None, "internet-gateway", Egress.INTERNET_GATEWAY),
            ("", "internet-gateway", Egress.NONE),
            (None, None, Egress.NONE),
        ],
    )
    async def test_the_way_out(self, cloud: Ec2Cloud, own: str | None, main: str | None, expected: Egress) -> None:
        """It is that of the subnet's own route table, else of the VPC's main one."""
        if main is not None:
            cloud.sim.control("PUT", f"/route-tables/{cloud.main_table}", {"default": main})
        if own is not None:
            table = {"vpc": cloud.network, "subnets": [cloud.subnet], "default": own}
            cloud.sim.control("POST", "/route-tables", table)
        await asyncio.sleep(0.2)  # reads lag by half of it
        (subnet,) = await cloud.driver.subnets(SubnetQuery(ids=(cloud.subnet,), tags={}))

        assert subnet.egress is expected

    @pytest.mark.parametrize("kind", ["error", "hang"])
    async def test_subnets_without_route_tables(self, cloud: Ec2Cloud, kind: str) -> None:
        """Where the way out cannot be read, the subnets are, soon, and the tables are not asked for each time."""
        fault = {"operation": "DescribeRouteTables", "kind": kind, "code": "UnauthorizedOperation", "count": 9}
        cloud.sim.control("POST", "/faults", fault)
        async with asyncio.timeout(10):
            found = [await cloud.driver.subnets(SubnetQuery(ids=(cloud.subnet,), tags={})) for _ in range(3)]
        sent = {count.operation: count.calls for count in cloud.gate.counts()}

        assert [item.egress for (item,) in found] == [None, None, None]
        assert sent["DescribeRouteTables"] == 1

    async def test_own_services_are_named(self, cloud: Ec2Cloud) -> None:
        """Every address at which AWS answers any instance is named once, with what it is for."""
        purposes = {str(service.address): service.purpose for service in cloud.driver.services}

        assert len(purposes) == len(cloud.driver.services)
        assert purposes["169.254.169.254"] == purposes["fd00:ec2::254"] == "metadata"
        assert purposes["169.254.169.253"] == purposes["fd00:ec2::253"] == "dns"
        assert purposes["169.254.169.123"] == purposes["fd00:ec2::123"] == "time"
        assert purposes["169.254.170.23"] == purposes["fd00:ec2::23"] == "pod-identity"

    async def test_a_fragmented_subnet(self, cloud: Ec2Cloud) -> None:
        """A /27 has enough addresses for a prefix and no block of 16 that is whole: EC2 has another code for that, the
        meaning is the same.
        """
        place = {"vpc": cloud.network, "zone": ZONE, "cidr": "10.0.3.0/27"}
        narrow = SubnetId(cloud.sim.control("POST", "/subnets", place)["id"])
        want = replace(wanted(cloud, kinds={Kind.IPV4_PREFIX: 1}), subnet=narrow)
        with pytest.raises(errors.NoPrefix) as of_create:
            await cloud.driver.create_interface(want)
        made = await cloud.driver.create_interface(replace(wanted(cloud, name="plain", count=1), subnet=narrow))
        with pytest.raises(errors.NoPrefix) as of_assign:
            await cloud.driver.assign(made.id, AddressRequest(kind=Kind.IPV4_PREFIX, count=1))

        for caught in (of_create, of_assign):
            assert (caught.value.code, caught.value.subnet) == ("InsufficientCidrBlocks", narrow)

    async def test_one_hanging_operation_does_not_stop_others(self, cloud: Ec2Cloud) -> None:
        """More calls of it than it has threads hang; another operation is answered meanwhile."""
        made = await cloud.driver.create_interface(wanted(cloud, count=1))
        fault = {"operation": "UnassignPrivateIpAddresses", "kind": "hang", "count": 20}
        cloud.sim.control("POST", "/faults", fault)
        hanging = [asyncio.create_task(cloud.driver.unassign(made.id, made.addresses)) for _ in range(20)]
        async with asyncio.timeout(10):
            added = await cloud.driver.assign(made.id, AddressRequest(count=1))

        assert len(added) == 1
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    @pytest.mark.parametrize("operation", ["ModifyNetworkInterfaceAttribute", "DeleteNetworkInterface"])
    async def test_what_a_refusal_leaves_half_made_is_said_and_finished(self, cloud: Ec2Cloud, operation: str) -> None:
        """A refusal after the interface is there, or of the deletion that would undo it, is told as unfinished; allowed
        again, the same request finishes it.
        """
        deny = [operation, "AttachNetworkInterface"] if operation.startswith("Delete") else [operation]
        key = {"access_key": "AKIAUNDERLAY", "allow": main_policy()}
        cloud.sim.control("POST", "/credentials", key | {"deny": deny})
        with pytest.raises(errors.Denied) as caught:
            await cloud.driver.create_interface(wanted(cloud, count=1))
        (left,) = cloud.interfaces()
        cloud.sim.control("POST", "/credentials", key)
        made = await cloud.driver.create_interface(wanted(cloud, count=1))

        assert caught.value.unfinished
        assert made.id == left.id
        assert [item.id for item in cloud.interfaces()] == [left.id]

    @pytest.mark.parametrize(
        "code", ["AttachmentLimitExceeded", "UnauthorizedOperation", "InvalidParameterCombination"]
    )
    async def test_a_repeated_creation_leaves_what_is_attached_already(self, cloud: Ec2Cloud, code: str) -> None:
        """Whatever EC2 says to attaching it a second time, such as that the machine is full of what it has: pods may
        use the interface by now, it stays and is finished.
        """
        cloud.lose_reply("ModifyNetworkInterfaceAttribute")
        with pytest.raises(errors.UnknownOutcome):
            await cloud.driver.create_interface(wanted(cloud, count=1))
        (left,) = cloud.interfaces()
        cloud.sim.control("POST", "/faults", {"operation": "AttachNetworkInterface", "kind": "error", "code": code})
        made = await cloud.driver.create_interface(wanted(cloud, count=1))

        assert made.id == left.id
        assert cloud.truth(left.id).instance == cloud.instance

    async def test_what_outlives_its_machine_is_seen_and_mended(self, cloud: Ec2Cloud) -> None:
        """An attached interface that EC2 would not delete with its instance is read as such; told once, or twice, it
        ends with it.
        """
        key = {"access_key": "AKIAUNDERLAY", "allow": main_policy()}
        cloud.sim.control("POST", "/credentials", key | {"deny": ["ModifyNetworkInterfaceAttribute"]})
        with pytest.raises(errors.Denied):
            await cloud.driver.create_interface(wanted(cloud, count=1))
        cloud.sim.control("POST", "/credentials", key)
        (left,) = (item for item in (await cloud.driver.instance(cloud.instance)).interfaces if not item.primary)
        for _ in ("once", "twice"):
            await cloud.driver.end_with_instance(left.id)

        assert not left.ends_with_instance
        assert cloud.truth(left.id).ends_with_instance

    async def test_wrong_credentials_are_named(self, cloud: Ec2Cloud) -> None:
        """An unknown access key is no missing permission: the text speaks of the credentials."""
        cloud.sim.control("DELETE", "/credentials/AKIAUNDERLAY")

        with pytest.raises(errors.Denied, match="credentials") as caught:
            await cloud.driver.owned(cloud.owner)
        assert caught.value.permission == ""

    async def test_nobody_at_the_endpoint(self) -> None:
        """Nothing was sent, so even a write is Unavailable and not of unknown outcome."""
        gate = CallGate(clock=RealClock(), lease=lambda: True, attempts=2, first_wait_seconds=0.01)
        driver = await load("aws", settings("http://127.0.0.1:1", gate))

        with pytest.raises(errors.Unavailable):
            await driver.unassign(InterfaceId("eni-1"), [IPv4Address("10.0.0.9")])
        assert gate.counts()[0].calls == 2
        await driver.close()

    async def test_a_closed_driver_says_so(self, cloud: Ec2Cloud) -> None:
        """A caller that still holds the driver of a changed provider gets an error it can retry, not a cancellation."""
        waiting = asyncio.create_task(cloud.driver.owned(cloud.owner))
        await asyncio.sleep(0)
        await cloud.driver.close()
        following = asyncio.create_task(cloud.driver.owned(cloud.owner))

        assert await waiting == []
        with pytest.raises(errors.Unavailable, match="DriverClosed"):
            await following

    async def test_the_sdk_sends_once(self, cloud: Ec2Cloud) -> None:
        """A failed request is not repeated behind the gate's back."""
        cloud.sim.control("DELETE", "/calls")
        cloud.sim.control("POST", "/faults", {"operation": "DescribeSubnets", "kind": "error", "code": "Unsupported"})
        cloud.lose_reply("AssignPrivateIpAddresses")
        made = await cloud.driver.create_interface(wanted(cloud))
        with pytest.raises(errors.UnknownOutcome):
            await cloud.driver.assign(made.id, AddressRequest(count=1))
        with pytest.raises(errors.Rejected):
            await cloud.driver.subnets(SubnetQuery(ids=(cloud.subnet,), tags={}))
        sent = cloud.sim.control("GET", "/calls")

        assert [sum(sent[name].values()) for name in ("AssignPrivateIpAddresses", "DescribeSubnets")] == [1, 1]

    async def test_lists_are_read_to_the_last_page(self, cloud: Ec2Cloud) -> None:
        """Twelve interfaces at five a page are all found."""
        ec2 = Ec2(settings(cloud.sim.url, cloud.gate), page_size=5)
        for _ in range(12):
            await ec2.call("CreateNetworkInterface", CreateReply, SubnetId=cloud.subnet)
        async with asyncio.timeout(10):
            while len(found := await ec2.enis({"subnet-id": [cloud.subnet], "status": ["available"]})) < 12:
                pass
        await ec2.close()

        assert len({eni.network_interface_id for eni in found}) == 12

    async def test_a_call_that_is_not_declared_cannot_be_made(self, cloud: Ec2Cloud) -> None:
        """The published list of actions is the whole of what the driver can do."""
        ec2 = Ec2(settings(cloud.sim.url, cloud.gate))

        with pytest.raises(LookupError, match="TerminateInstances"):
            await ec2.call("TerminateInstances", Nothing, InstanceIds=[cloud.instance])
        await ec2.close()

    async def test_a_detached_leftover_is_carried_on_with(self, cloud: Ec2Cloud) -> None:
        """An interface made but not attached before a crash is found among the owned, and finished by its token."""
        cloud.lose_reply("CreateNetworkInterface")
        with pytest.raises(errors.UnknownOutcome):
            await cloud.driver.create_interface(wanted(cloud))
        async with asyncio.timeout(10):
            while not (left := await cloud.driver.owned(cloud.owner)):
                pass
        made = await cloud.driver.create_interface(wanted(cloud))

        assert [(item.id, item.state) for item in left] == [(made.id, InterfaceState.AVAILABLE)]


async def _until(cloud: Ec2Cloud, interface: str, holds: Callable[[NetworkInterface], bool]) -> None:
    """By a read that has caught up."""
    async with asyncio.timeout(10):
        while True:
            found = await cloud.driver.instance(cloud.instance)
            if any(item.id == interface and holds(item) for item in found.interfaces):
                return


class TestRates:
    """The driver's and the simulator's tables were each written from EC2's documentation."""

    def test_rates_are_the_published_ones(self) -> None:
        """Both say the same of every operation the driver calls; all its reads are filtered or paged."""
        published = {
            operation: buckets.FILTERED_READ
            if operation.startswith(("Describe", "Get"))
            else buckets.RATES.get(operation, buckets.OTHER_WRITE)
            for operation in RATES
        }

        assert {name: (rate.burst, rate.refill_per_second) for name, rate in RATES.items()} == {
            name: (rate.capacity, rate.refill) for name, rate in published.items()
        }

    async def test_a_burst_is_not_throttled(self) -> None:
        """More calls at once than the bucket holds are paced by the gate: EC2's own bucket refuses none or next to
        none.
        """
        with simulator(Settings(region=REGION, lag_seconds=0, buckets=True, time_scale=1)) as strict:
            gate = CallGate(clock=RealClock(), lease=lambda: True)
            driver = await load("aws", settings(strict.url, gate))
            await asyncio.gather(*(driver.owned(Owner(cluster="nobody")) for _ in range(110)))
            await driver.close()
        (count,) = gate.counts()

        assert count.calls - count.throttled == 110
        assert count.throttled <= 2
