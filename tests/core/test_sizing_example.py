"""The worked example of docs/sizing.md, played with the real plan: each figure of it is what the plan says."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil

import pytest

from cloudsim.model.instance_types import known_types
from support.cloud_values import carried_out, interface, subnet, view
from support.documents import section, table
from underlay.core.api.networkprovider import AddressPolicy
from underlay.core.cloud import items
from underlay.core.cloud.model import Kind, Limits, kind_of
from underlay.core.cloud.planning.actions import Action, Assign, Create, Delete
from underlay.core.cloud.planning.plan import Plan, plan
from underlay.core.cloud.planning.view import NodeView

SUBNET = subnet().id
KUBELET = 110


@dataclass(slots=True)
class Node:
    """``blocks``: how many more whole blocks the subnet has."""

    view: NodeView
    blocks: int = 1_000

    def asks(self, pods: int) -> tuple[Plan, list[Action]]:
        """What is asked for, and given, until the node has what it should have."""
        self.view, done = replace(self.view, pods=pods), list[Action]()
        while (decided := plan(self.view)).actions:
            (action, *_) = decided.actions
            if isinstance(action, Assign) and action.kind is Kind.IPV4_PREFIX:
                if action.count > self.blocks:
                    self.view = replace(self.view, whole_blocks={SUBNET: action.count // 2})
                    continue
                self.blocks -= action.count
            self.view = carried_out(self.view, replace(decided, actions=(action,)))
            done.append(action)
        return decided, done

    def later(self) -> None:
        """The delay is over; nothing forbids prefixes any more."""
        self.view = replace(self.view, surplus_since=0.0, whole_blocks={})

    def has(self, kind: Kind) -> int:
        every = [item for each in self.view.instance.interfaces for item in items.of_interface(each)]
        return sum(kind_of(item) is kind for item in every)


@pytest.fixture
def node() -> Node:
    """A c5.large as the example has it."""
    type_ = known_types()["c5.large"]
    assert f"has {type_.interfaces} interfaces of {type_.ipv4} addresses" in section("sizing.md", "An example")
    limits = Limits(
        interfaces=type_.interfaces,
        ipv4_per_interface=type_.ipv4,
        ipv6_per_interface=type_.ipv6,
        prefixes=type_.has_prefixes,
    )
    policy = AddressPolicy(mode="auto", buffer=0.5)
    return Node(view(limits=limits, policy=policy, subnets=(subnet(free=5_000),), max_pods=KUBELET))


def test_the_formula_gives_the_figures() -> None:
    """Every formula of the table has the result that stands beside it."""
    rows = table(section("sizing.md", "An example"), "what happens")
    formulas = [
        found
        for row in rows
        for found in re.findall(r"(\d+) . ceil\(([\d.]+) \+ ([\d.]+)\)(?: = (\d+))?", row["target"])
    ]

    assert len(formulas) >= 6
    for batch, buffer, share, result in formulas:
        assert result in ("", str(int(batch) * ceil(float(buffer) + float(share))))


def test_the_example_is_what_the_plan_does(node: Node) -> None:
    """Row by row: used, target, and what is asked of the cloud."""
    rows = iter(table(section("sizing.md", "An example"), "what happens"))

    assert _told(next(rows), node.asks(0), used=0) == [(0, Kind.IPV4_PREFIX, 1)]
    assert _told(next(rows), node.asks(8), used=8) == []
    assert _told(next(rows), node.asks(9), used=9) == [(0, Kind.IPV4_PREFIX, 1)]
    before = node.view
    assert _told(next(rows), node.asks(KUBELET), used=110) == [(0, Kind.IPV4_PREFIX, 5)]
    assert node.has(Kind.IPV4_PREFIX) == 7

    node.view, node.blocks = before, 4
    fragmented = _told(next(rows), node.asks(KUBELET), used=110)
    assert sum(count for _, kind, count in fragmented if kind is Kind.IPV4_PREFIX) == 4
    assert fragmented[-3:] == [(0, Kind.IPV4, 3), (1, Kind.IPV4, 9), (2, Kind.IPV4, 2)]

    node.blocks = 1_000
    node.later()
    row = next(rows)
    assert _told(row, node.asks(KUBELET), used=110) == [(2, Kind.IPV4_PREFIX, 1)]
    usable = plan(node.view).usable
    assert f"of the {usable} addresses the node has then, {usable - 112} are surplus" in row["what is asked for"]

    node.later()
    _, back = asked = node.asks(KUBELET)
    _told(next(rows), asked, used=110)
    assert (node.has(Kind.IPV4), node.has(Kind.IPV4_PREFIX)) == (0, 7)
    assert [action.interface for action in back if isinstance(action, Delete)] == [interface(1).id]

    node.later()
    _told(next(rows), node.asks(10), used=10)
    assert node.has(Kind.IPV4_PREFIX) == 2


def _told(row: Mapping[str, str], asked: tuple[Plan, Iterable[Action]], *, used: int) -> list[tuple[int, Kind, int]]:
    """What grows, by device index, after a look at the row's figures."""
    decided, done = asked
    assert int(row["used"]) == used
    assert int(re.findall(r"\d+", row["target"])[-1]) == decided.target, row["what happens"]
    found: list[tuple[int, Kind, int]] = []
    for action in done:
        if isinstance(action, Assign):
            found.append((int(action.interface.removeprefix("eni-")), action.kind, action.count))
        elif isinstance(action, Create):
            found += [(action.device_index, kind, count) for kind, count in action.wanted.items()]
    return found
