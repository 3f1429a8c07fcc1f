"""Router solicitations as a router reads them, and which answers make a default router (RFC 4861 §4.2, §6.1.2)."""

from ipaddress import IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudsim.fabric import neighbours
from cloudsim.fabric.model import View
from underlay.cni.datapath.solicitation import Router6, advertisement, solicitation
from underlay.core.identity import Mac

OWN, ROUTER = Mac("02:00:00:00:00:0a"), Mac("0e:c2:00:00:00:01")
SOURCE = IPv6Address("fe80::ff:fe00:a")
SUBNET = IPv6Network("2001:db8:9::/64")
VIEW = View(
    links=frozenset({"v"}),
    own=frozenset({("v", str(OWN))}),
    owners={},
    blocks={},
    gateways=frozenset(),
    subnets6={"v": SUBNET},
)


def answered(source: IPv6Address | None) -> neighbours.Reply:
    """What the simulated VPC, which knows nothing of the product, makes of the question."""
    reply = neighbours.answer(solicitation(OWN, source), link="v", mac=OWN, view=VIEW)
    assert reply is not None
    return reply


@pytest.mark.parametrize(
    ("source", "receiver"), [(SOURCE, OWN), (None, "33:33:00:00:00:01")], ids=["with an address", "without one"]
)
def test_question_is_answered(source: IPv6Address | None, receiver: str) -> None:
    """A router understands the question and answers the asker, or all nodes if the asker has no address yet."""
    reply = answered(source)

    assert reply.mac == receiver
    assert advertisement(reply.packet, sender=ROUTER, own=OWN) == Router6(
        address=IPv6Address("fe80:ec2::1"), lifetime_seconds=1800.0
    )


def test_question_as_bytes() -> None:
    """Type 133 to all routers with hop limit 255 and the asker's MAC as option 1; the checksum covers all of it."""
    packet = solicitation(OWN, SOURCE)

    assert packet[4:8] == bytes((0, 16, 58, 255))
    assert packet[8:24] == SOURCE.packed
    assert packet[24:40] == IPv6Address("ff02::2").packed
    assert (packet[40], packet[48:56]) == (133, bytes((1, 1)) + bytes.fromhex("02000000000a"))
    assert _sum(packet) == 0xFFFF


def _sum(packet: bytes) -> int:
    """One's complement sum of pseudo header and content (RFC 8200 §8.1), 0xffff if the checksum is right."""
    content = packet[8:40] + (len(packet) - 40).to_bytes(4, "big") + bytes((0, 0, 0, 58)) + packet[40:]
    total = sum(content[at] << 8 | content[at + 1] for at in range(0, len(content), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _with(packet: bytes, at: int, value: bytes, *, summed: bool = True) -> bytes:
    """``packet`` with other bytes at ``at``, its checksum made right again unless that is the point."""
    changed = packet[:at] + value + packet[at + len(value) :]
    if not summed:
        return changed
    blank = changed[:42] + b"\0\0" + changed[44:]
    return blank[:42] + (0xFFFF - _sum(blank)).to_bytes(2, "big") + blank[44:]


VALID = answered(SOURCE).packet


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(_with(VALID, 7, b"\xfe"), id="hop limit 254: it came through a router"),
        pytest.param(_with(VALID, 8, SUBNET[7].packed), id="from a global address"),
        pytest.param(_with(VALID, 41, b"\1"), id="code 1"),
        pytest.param(_with(VALID, 40, b"\x88"), id="a neighbour's advertisement"),
        pytest.param(_with(VALID, 46, b"\0\0"), id="lifetime 0: no default router"),
        pytest.param(_with(VALID, 42, b"\0\0", summed=False), id="wrong checksum"),
        pytest.param(_with(VALID, 57, b"\0"), id="an option of length 0"),
        pytest.param(_with(VALID, 57, b"\x09"), id="an option longer than the packet"),
        pytest.param(VALID[:50], id="cut off"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_answers_that_do_not_count(packet: bytes) -> None:
    """A packet that RFC 4861 has a host discard makes no router."""
    assert advertisement(packet, sender=ROUTER, own=OWN) is None


def test_answer_of_an_ipvlan_pod_does_not_count() -> None:
    """What comes from the link's own MAC was sent by a pod on it, which must not become its neighbours' router."""
    assert advertisement(VALID, sender=Mac(OWN.upper()), own=OWN) is None


@given(st.binary(max_size=120), st.integers(0, len(VALID)))
def test_no_bytes_break_the_reader(noise: bytes, at: int) -> None:
    """Whatever a network sends is read as a router or as none."""
    for packet in (noise, VALID[:at] + noise, VALID[:at] + noise + VALID[at:]):
        found = advertisement(packet, sender=ROUTER, own=OWN)

        assert found is None or found.address.is_link_local


def test_the_view_has_no_ipv4() -> None:
    """A subnet without IPv6 has no router to answer."""
    view = View(
        links=VIEW.links, own=VIEW.own, owners={}, blocks={}, gateways=frozenset({IPv4Network("10.9.0.0/24")[1]}),
        subnets6={},
    )  # fmt: skip

    assert neighbours.answer(solicitation(OWN, SOURCE), link="v", mac=OWN, view=view) is None
