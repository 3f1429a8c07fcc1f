"""A small account for each test: one VPC, three subnets, one t3.medium; the clock stands still and reads do not lag."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from cloudsim.server.app import Settings
from cloudsim.threaded import Simulator, simulator

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """``subnet`` is a /24 in zone a, ``tiny`` a /28 in zone a, ``elsewhere`` a /24 in zone b."""

    sim: Simulator
    ec2: "EC2Client"
    vpc: str
    group: str
    subnet: str
    tiny: str
    elsewhere: str
    instance: str
    primary: str

    def create(self, count: int = 0, subnet: str = "") -> str:
        made = self.ec2.create_network_interface(SubnetId=subnet or self.subnet, SecondaryPrivateIpAddressCount=count)
        return made["NetworkInterface"]["NetworkInterfaceId"]

    def attach(self, interface: str, index: int, instance: str = "") -> str:
        """Attached when this returns."""
        made = self.ec2.attach_network_interface(
            NetworkInterfaceId=interface, InstanceId=instance or self.instance, DeviceIndex=index
        )
        self.sim.advance(1)
        return made["AttachmentId"]

    def interface(self, interface: str) -> dict[str, object]:
        """Its row in the simulator's own table."""
        rows = self.sim.control("GET", "/table")["interfaces"]
        return next(row for row in rows if row["id"] == interface)

    def addresses(self, interface: str) -> list[str]:
        found = self.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]
        return [entry["PrivateIpAddress"] for entry in found["PrivateIpAddresses"]]

    def free(self, subnet: str) -> int:
        return self.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]


Clients = Callable[[str, str], "EC2Client"]


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Makes clients that do not retry: (url, access key) → client."""
    with ExitStack() as stack:

        def make(url: str, access_key: str) -> "EC2Client":
            client: EC2Client = boto3.client(
                "ec2",
                endpoint_url=url,
                region_name="us-east-1",
                aws_access_key_id=access_key,
                aws_secret_access_key="secret",  # noqa: S106 the simulator does not check it
                config=Config(retries={"max_attempts": 0}, read_timeout=10),
            )
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def settings() -> Settings:
    """What a test file overrides to have another simulator."""
    return Settings(manual_clock=True, lag_seconds=0.0, attach_seconds=1.0)


@pytest.fixture
def account(settings: Settings, clients: Clients) -> Iterator[Account]:
    with simulator(settings) as sim:
        vpc = sim.control("POST", "/vpcs", {"cidr": "10.0.0.0/16"})

        def subnet(cidr: str, zone: str) -> str:
            return str(sim.control("POST", "/subnets", {"vpc": vpc["id"], "cidr": cidr, "zone": zone})["id"])

        main = subnet("10.0.1.0/24", "us-east-1a")
        instance = sim.control("POST", "/instances", {"type": "t3.medium", "subnet": main})
        yield Account(
            sim=sim,
            ec2=clients(sim.url, "AKIAEXAMPLE"),
            vpc=vpc["id"],
            group=vpc["security_group"],
            subnet=main,
            tiny=subnet("10.0.2.0/28", "us-east-1a"),
            elsewhere=subnet("10.0.3.0/24", "us-east-1b"),
            instance=instance["id"],
            primary=instance["eni"],
        )


Refusal = Callable[[Callable[[], object]], tuple[str, str, int]]


@pytest.fixture
def refusal() -> Refusal:
    """Runs a call that must be refused: → EC2's code, its text, the HTTP status."""

    def run(call: Callable[[], object]) -> tuple[str, str, int]:
        with pytest.raises(ClientError) as caught:
            call()
        response = caught.value.response
        return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]

    return run
