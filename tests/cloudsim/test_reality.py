"""What makes a cloud a cloud: reads that lag, replies that are lost, throttling, credentials. Through the real SDK."""

import threading
from collections import Counter
from collections.abc import Callable
from urllib.error import HTTPError

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from cloudsim.conftest import Account, Clients, Refusal
from cloudsim.server.app import Settings
from cloudsim.server.state import LagMode
from cloudsim.threaded import simulator

LAG = Settings(manual_clock=True, lag_seconds=2.0, attach_seconds=1.0)
MIXED_LAG = Settings(manual_clock=True, lag_seconds=2.0, lag_mode=LagMode.UNIFORM)
THROTTLED = Settings(manual_clock=True, lag_seconds=0.0, buckets=True)
QUICK_BUCKETS = Settings(manual_clock=True, lag_seconds=0.0, buckets=True, time_scale=10)


def _until(condition: Callable[[], bool]) -> None:
    """Asks until it is so; each question is a request, so this neither sleeps nor spins."""
    assert any(condition() for _ in range(10_000))


@pytest.mark.parametrize("settings", [LAG])
def test_reads_show_the_past_and_writes_the_truth(account: Account, refusal: Refusal) -> None:
    """A created interface is not found for the lag, though it can be written to; then its later addresses appear."""
    account.sim.advance(5)
    interface = account.create()
    code, _, _ = refusal(lambda: account.addresses(interface))
    account.sim.advance(1)
    account.ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=2)

    assert code == "InvalidNetworkInterfaceID.NotFound"
    account.sim.advance(1)
    assert len(account.addresses(interface)) == 1
    account.sim.advance(1)
    assert len(account.addresses(interface)) == 3
    account.ec2.delete_network_interface(NetworkInterfaceId=interface)
    assert len(account.addresses(interface)) == 3
    account.sim.advance(2)
    assert refusal(lambda: account.addresses(interface))[0] == "InvalidNetworkInterfaceID.NotFound"


@pytest.mark.parametrize("settings", [MIXED_LAG])
def test_uniform_lag_seems_to_go_back_in_time(account: Account) -> None:
    """With uniform lag, reads of one moment disagree; after the lag they all agree."""
    account.sim.advance(5)
    interface = account.create()
    account.sim.advance(1)

    def is_seen() -> bool:
        try:
            account.addresses(interface)
        except ClientError:
            return False
        return True

    assert {True, False} == {is_seen() for _ in range(20)}
    account.sim.advance(1)
    assert {True} == {is_seen() for _ in range(20)}


def test_error_by_script_strikes_the_nth_calls(account: Account, refusal: Refusal) -> None:
    """nth=2, count=2: the second and third call fail with the given code, the others work, nothing was changed."""
    account.sim.control(
        "POST",
        "/faults",
        {"operation": "CreateNetworkInterface", "nth": 2, "count": 2, "kind": "error", "code": "RequestLimitExceeded"},
    )
    account.create()
    codes = [refusal(account.create)[::2] for _ in range(2)]
    account.create()

    assert codes == [("RequestLimitExceeded", 503)] * 2
    assert len(account.sim.control("GET", "/table")["interfaces"]) == 3
    calls = account.sim.control("GET", "/calls")
    assert calls["CreateNetworkInterface"] == {"OK": 2, "RequestLimitExceeded": 2}
    assert account.sim.control("GET", "/faults") == {"faults": []}


def test_partial_page_is_short_and_its_token_leads_to_the_rest(account: Account) -> None:
    """A struck describe shows half of its page; a client that follows the token sees everything once."""
    made = {account.create() for _ in range(9)} | {account.primary}
    fault = {"operation": "DescribeNetworkInterfaces", "kind": "partial", "count": 2}
    account.sim.control("POST", "/faults", fault)
    pages = [
        [eni["NetworkInterfaceId"] for eni in page["NetworkInterfaces"]]
        for page in account.ec2.get_paginator("describe_network_interfaces").paginate()
    ]

    assert [len(page) for page in pages] == [5, 2, 3]
    assert sorted(made) == sorted(id_ for page in pages for id_ in page)


def test_partial_page_may_be_empty(account: Account) -> None:
    """Half of one record is none: an empty page with a token, which a client must follow nevertheless."""
    account.sim.control("POST", "/faults", {"operation": "DescribeInstances", "kind": "partial"})
    first = account.ec2.describe_instances()
    second = account.ec2.describe_instances(NextToken=first["NextToken"])

    assert first["Reservations"] == []
    assert [account.instance] == [one["Instances"][0]["InstanceId"] for one in second["Reservations"]]


def test_write_is_never_partial(account: Account) -> None:
    """EC2 does a write wholly or not at all, so the script cannot ask for half of one."""
    for operation in ("AssignPrivateIpAddresses", "*"):
        with pytest.raises(HTTPError) as caught:
            account.sim.control("POST", "/faults", {"operation": operation, "kind": "partial"})
        with caught.value as answer:
            assert "all or nothing" in answer.read().decode()


def test_lost_reply_has_committed(account: Account) -> None:
    """The connection ends without an answer, but the interface exists and its token finds it."""
    account.sim.control("POST", "/faults", {"operation": "CreateNetworkInterface", "kind": "lost_reply"})
    with pytest.raises(ConnectionClosedError):
        account.ec2.create_network_interface(SubnetId=account.subnet, ClientToken="again")
    rows = account.sim.control("GET", "/table")["interfaces"]
    found = account.ec2.create_network_interface(SubnetId=account.subnet, ClientToken="again")

    made = [row["id"] for row in rows if row["id"] != account.primary]
    assert [found["NetworkInterface"]["NetworkInterfaceId"]] == made
    assert account.sim.control("GET", "/calls")["CreateNetworkInterface"] == {"OK": 1, "lost_reply": 1}


def test_hang_changes_nothing(settings: Settings, clients: Clients) -> None:
    """A hanging call is never answered and never done, also when the simulator ends meanwhile."""
    with simulator(settings) as sim:
        vpc = sim.control("POST", "/vpcs", {"cidr": "10.0.0.0/16"})["id"]
        subnet = sim.control("POST", "/subnets", {"vpc": vpc, "cidr": "10.0.0.0/24", "zone": "us-east-1a"})["id"]
        sim.control("POST", "/faults", {"operation": "*", "kind": "hang"})
        hung = clients(sim.url, "a")
        failures: list[BaseException] = []

        def call() -> None:
            try:
                hung.create_network_interface(SubnetId=subnet)
            except (ClientError, ConnectionClosedError, ReadTimeoutError) as error:
                failures.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        _until(lambda: "CreateNetworkInterface" in sim.control("GET", "/calls"))

        assert sim.control("GET", "/table")["interfaces"] == []
        assert sim.control("GET", "/calls")["CreateNetworkInterface"] == {"hang": 1}
    thread.join()

    assert len(failures) == 1


def test_delay_waits_by_the_simulators_clock(account: Account) -> None:
    """A delayed call is answered once its seconds have passed."""
    account.sim.control("POST", "/faults", {"operation": "DescribeSubnets", "kind": "delay", "seconds": 30})
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(len(account.ec2.describe_subnets()["Subnets"])))
    thread.start()
    _until(lambda: not account.sim.control("GET", "/faults")["faults"])

    assert answers == []
    account.sim.advance(30)
    thread.join()
    assert answers == [3]


@pytest.mark.parametrize("settings", [THROTTLED])
def test_buckets_follow_the_published_rates(account: Account, refusal: Refusal) -> None:
    """AttachNetworkInterface: 50 at once, then 5 a second; CreateTags: 100. Excess is RequestLimitExceeded, 503."""

    def attach() -> str:
        return refusal(
            lambda: account.ec2.attach_network_interface(
                NetworkInterfaceId="eni-0123456789abcdef0", InstanceId=account.instance, DeviceIndex=1
            )
        )[0]

    assert Counter({"InvalidNetworkInterfaceID.NotFound": 50, "RequestLimitExceeded": 2}) == Counter(
        attach() for _ in range(52)
    )
    account.sim.advance(1)
    assert Counter({"InvalidNetworkInterfaceID.NotFound": 5, "RequestLimitExceeded": 1}) == Counter(
        attach() for _ in range(6)
    )
    for _ in range(100):
        account.ec2.create_tags(Resources=[account.primary], Tags=[{"Key": "a", "Value": "b"}])
    code, text, status = refusal(
        lambda: account.ec2.create_tags(Resources=[account.primary], Tags=[{"Key": "a", "Value": "b"}])
    )
    assert (code, text, status) == ("RequestLimitExceeded", "Request limit exceeded.", 503)


@pytest.mark.parametrize("settings", [THROTTLED])
def test_a_thousand_creates_take_three_minutes(account: Account) -> None:
    """A hundred at once, then five a second: (1000 - 100) / 5 = 180 seconds, whatever the client does."""
    body = {"vpc": account.vpc, "cidr": "10.0.16.0/20", "zone": "us-east-1a"}
    subnet = account.sim.control("POST", "/subnets", body)["id"]
    started = account.sim.control("GET", "/health")["now"]

    def is_made() -> bool:
        try:
            account.create(0, subnet)
        except ClientError:
            account.sim.advance(20)
            return False
        return True

    made = 0
    while made < 1000:
        made += is_made()

    assert account.sim.control("GET", "/health")["now"] - started == 180
    assert account.sim.control("GET", "/calls")["CreateNetworkInterface"] == {"OK": 1000, "RequestLimitExceeded": 9}


@pytest.mark.parametrize("settings", [THROTTLED])
def test_whole_reads_have_the_smaller_bucket(account: Account, refusal: Refusal) -> None:
    """DescribeNetworkInterfaces without filter or page: 50 at once; with a filter it has another bucket."""
    for _ in range(50):
        account.ec2.describe_network_interfaces()
    code, _, _ = refusal(account.ec2.describe_network_interfaces)
    account.ec2.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [account.vpc]}])

    assert code == "RequestLimitExceeded"


@pytest.mark.parametrize("settings", [QUICK_BUCKETS])
def test_time_scale_refills_faster(account: Account, refusal: Refusal) -> None:
    """With time scale 10 a quarter of a second brings what two and a half seconds bring at EC2."""
    for _ in range(100):
        account.ec2.create_tags(Resources=[account.primary], Tags=[{"Key": "a", "Value": "b"}])
    account.sim.advance(0.25)
    for _ in range(25):
        account.ec2.create_tags(Resources=[account.primary], Tags=[{"Key": "a", "Value": "b"}])

    code, _, _ = refusal(
        lambda: account.ec2.create_tags(Resources=[account.primary], Tags=[{"Key": "a", "Value": "b"}])
    )
    assert code == "RequestLimitExceeded"


def test_unknown_key_is_refused_once_keys_are_known(account: Account, clients: Clients, refusal: Refusal) -> None:
    """Any key works until one is registered; then others get AuthFailure, 401."""
    account.ec2.describe_subnets()
    account.sim.control("POST", "/credentials", {"access_key": "AKIAGOOD", "secret": "s", "deny": []})
    clients(account.sim.url, "AKIAGOOD").describe_subnets()

    code, text, status = refusal(account.ec2.describe_subnets)
    assert (code, status) == ("AuthFailure", 401)
    assert text == "AWS was not able to validate the provided access credentials"


def test_denied_action_names_itself(account: Account, clients: Clients, refusal: Refusal) -> None:
    """A denied action is UnauthorizedOperation, 403, naming user and action; others stay allowed."""
    deny = ["CreateNetworkInterface", "Delete*"]
    account.sim.control("POST", "/credentials", {"access_key": "AKIALESS", "secret": "s", "deny": deny})
    less = clients(account.sim.url, "AKIALESS")
    less.describe_subnets()
    code, text, status = refusal(lambda: less.create_network_interface(SubnetId=account.subnet))

    assert (code, status) == ("UnauthorizedOperation", 403)
    assert "You are not authorized to perform this operation." in text
    assert "is not authorized to perform: ec2:CreateNetworkInterface" in text
    assert refusal(lambda: less.delete_network_interface(NetworkInterfaceId="eni-0"))[0] == "UnauthorizedOperation"
