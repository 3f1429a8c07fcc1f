"""The model under random operations: what must hold whatever is asked of it."""

from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from cloudsim.clock import ManualClock
from cloudsim.model import addresses, attachments, instances, interfaces, ipv6, reservations, subnets, vpcs
from cloudsim.model.cloud import Cloud
from cloudsim.model.errors import Refused
from cloudsim.model.interfaces import NetworkInterface, Wanted
from cloudsim.model.ipv6 import Wanted6
from cloudsim.model.table import Table

TYPES = ("t3.small", "t3.medium", "m5.large", "t2.medium")


class Account(RuleBasedStateMachine):
    """A small VPC in which subnets run full. Refusals are part of the game; a broken invariant is not."""

    made = Bundle("made")
    machines = Bundle("machines")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.cloud = Cloud(self.clock, seed=1)
        vpc = vpcs.create(self.cloud, "10.0.0.0/24", IPv6Network("2600:1f13:0:ab00::/56"))
        self.nets = [
            subnets.create(self.cloud, vpc.id, "10.0.0.0/28", "a").id,
            subnets.create(self.cloud, vpc.id, "10.0.0.64/26", "a", IPv6Network("2600:1f13:0:ab00::/64")).id,
            subnets.create(self.cloud, vpc.id, "10.0.0.32/28", "b", IPv6Network("2600:1f13:0:ab01::/64")).id,
        ]

    def attempt(self, call: Callable[[], object]) -> None:
        """A refused call changes nothing."""
        before = self.state()
        try:
            call()
        except Refused:
            assert before == self.state()

    def state(self) -> object:
        return tuple(
            dict(table.items()) for table in (self.cloud.interfaces, self.cloud.subnets, self.cloud.reservations)
        )

    @rule(target=machines, type_=st.sampled_from(TYPES), net=st.integers(0, 2))
    def run_instance(self, type_: str, net: int) -> object:
        try:
            return instances.run(self.cloud, type_, self.nets[net]).id
        except Refused:
            return multiple()

    @rule(
        target=made,
        net=st.integers(0, 2),
        count=st.integers(0, 6),
        last=st.none() | st.integers(0, 15),
    )
    def create(self, net: int, count: int, last: int | None) -> object:
        block = subnets.require(self.cloud, self.nets[net]).cidr
        primary = None if last is None else block[last]
        try:
            return interfaces.create(
                self.cloud, Wanted(subnet=self.nets[net], primary=primary, secondary_count=count)
            ).id
        except Refused:
            return multiple()

    @rule(eni=made, machine=machines, index=st.integers(-1, 4))
    def attach(self, eni: str, machine: str, index: int) -> None:
        self.attempt(lambda: attachments.attach(self.cloud, eni, machine, index))

    @rule(eni=made)
    def finish_attach(self, eni: str) -> None:
        record = self.cloud.interfaces.get(eni)
        if record and record.attachment:
            attachments.complete_attach(self.cloud, record.attachment.id)

    @rule(eni=made)
    def detach(self, eni: str) -> None:
        record = self.cloud.interfaces.get(eni)
        if record and (held := record.attachment):
            self.attempt(lambda: attachments.detach(self.cloud, held.id))

    @rule(eni=made)
    def finish_detach(self, eni: str) -> None:
        record = self.cloud.interfaces.get(eni)
        if record and record.attachment:
            attachments.complete_detach(self.cloud, record.attachment.id)

    @rule(eni=made, count=st.integers(0, 12))
    def assign(self, eni: str, count: int) -> None:
        self.attempt(lambda: addresses.assign(self.cloud, eni, count))

    @rule(
        target=made,
        net=st.integers(0, 2),
        prefixes=st.integers(0, 3),
        six=st.builds(Wanted6, count=st.integers(0, 2), prefix_count=st.integers(0, 2)),
    )
    def create_with_prefixes(self, net: int, prefixes: int, six: Wanted6) -> object:
        before = self.state()
        try:
            return interfaces.create(self.cloud, Wanted(subnet=self.nets[net], prefix_count=prefixes, ipv6=six)).id
        except Refused:
            assert before == self.state()
            return multiple()

    @rule(eni=made, count=st.integers(0, 2))
    def assign_prefixes(self, eni: str, count: int) -> None:
        self.attempt(lambda: addresses.assign_prefixes(self.cloud, eni, count=count))

    @rule(eni=made, block=st.integers(4, 7))
    def assign_named_prefix(self, eni: str, block: int) -> None:
        named = subnets.parse_prefix(f"10.0.0.{block * 16}/28")
        self.attempt(lambda: addresses.assign_prefixes(self.cloud, eni, named=[named]))

    @rule(eni=made, pick=st.integers(0, 5))
    def unassign_prefix(self, eni: str, pick: int) -> None:
        record = self.cloud.interfaces.get(eni)
        if record and record.prefixes:
            unwanted = record.prefixes[pick % len(record.prefixes)]
            self.attempt(lambda: addresses.unassign(self.cloud, eni, [], [unwanted]))

    @rule(eni=made, six=st.builds(Wanted6, count=st.integers(0, 4), prefix_count=st.integers(0, 4)))
    def assign_ipv6(self, eni: str, six: Wanted6) -> None:
        self.attempt(lambda: ipv6.assign(self.cloud, eni, six))

    @rule(eni=made)
    def unassign_ipv6(self, eni: str) -> None:
        record = self.cloud.interfaces.get(eni)
        if record:
            self.attempt(lambda: ipv6.unassign(self.cloud, eni, record.addresses6[:1], record.prefixes6[:1]))

    @rule(block=st.integers(4, 7), length=st.sampled_from((27, 28, 29)), type_=st.sampled_from(("prefix", "explicit")))
    def reserve(self, block: int, length: int, type_: str) -> None:
        cidr = f"10.0.0.{block * 16 // (1 << 32 - length) * (1 << 32 - length)}/{length}"
        self.attempt(lambda: reservations.create(self.cloud, self.nets[1], cidr, type_))

    @rule()
    def end_reservation(self) -> None:
        held = next(iter(self.cloud.reservations.values()), None)
        if held:
            self.attempt(lambda: reservations.delete(self.cloud, held.id))

    @rule(eni=made, lasts=st.lists(st.integers(0, 79), min_size=1, max_size=3), reassign=st.booleans())
    def assign_exactly(self, eni: str, lasts: list[int], *, reassign: bool) -> None:
        wanted = [IPv4Address("10.0.0.0") + last for last in lasts]
        self.attempt(lambda: addresses.assign_exactly(self.cloud, eni, wanted, reassign=reassign))

    @rule(eni=made, picks=st.lists(st.integers(0, 12), min_size=1, max_size=3))
    def unassign(self, eni: str, picks: list[int]) -> None:
        record = self.cloud.interfaces.get(eni)
        if record:
            unwanted = [record.addresses[pick % len(record.addresses)] for pick in picks]
            self.attempt(lambda: addresses.unassign(self.cloud, eni, unwanted))

    @rule(eni=made)
    def delete(self, eni: str) -> None:
        self.attempt(lambda: interfaces.delete(self.cloud, eni))

    @rule(machine=machines)
    def terminate(self, machine: str) -> None:
        instances.terminate(self.cloud, machine)

    @rule(seconds=st.sampled_from((1.0, 30.0, 90.0)))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def no_address_has_two_owners(self) -> None:
        owners = Counter(address for eni in self.cloud.interfaces.values() for address in _held(eni))
        assert not [address for address, count in owners.items() if count > 1]

    @invariant()
    def no_ipv6_has_two_owners(self) -> None:
        every = list(self.cloud.interfaces.values())
        prefixes = [prefix for eni in every for prefix in eni.prefixes6]
        singles = [address for eni in every for address in eni.addresses6]
        assert len(set(prefixes)) == len(prefixes)
        assert len(set(singles)) == len(singles)
        assert not [address for address in singles if any(address in prefix for prefix in prefixes)]
        for eni in every:
            block = subnets.require(self.cloud, eni.subnet).cidr6
            assert all(block and address in block for address in eni.addresses6)
            assert all(block and prefix.subnet_of(block) for prefix in eni.prefixes6)

    @invariant()
    def bitmap_equals_table(self) -> None:
        for net in self.cloud.subnets.values():
            held = {address for eni in self.cloud.interfaces.values() if eni.subnet == net.id for address in _held(eni)}
            bitmap = self.cloud.bitmaps[net.id]
            taken = {address for address in net.cidr if bitmap.is_taken(address) and not bitmap.is_reserved(address)}
            assert held == taken
            assert net.cidr.num_addresses - 5 - len(held) == net.free == bitmap.free
            assert not any(bitmap.is_reserved(address) for address in held)

    @invariant()
    def limits_hold(self) -> None:
        for machine in self.cloud.instances.values():
            attached = self.cloud.interfaces_of(machine.id)
            type_ = self.cloud.types[machine.type]
            indexes = [eni.attachment.device_index for eni in attached if eni.attachment]
            assert len(attached) <= type_.interfaces
            assert all(len(eni.addresses) + len(eni.prefixes) <= type_.ipv4 for eni in attached)
            assert all(len(eni.addresses6) + len(eni.prefixes6) <= type_.ipv6 for eni in attached)
            assert type_.hypervisor != "xen" or not any(eni.prefixes or eni.prefixes6 for eni in attached)
            assert len(set(indexes)) == len(indexes)
            assert all(eni.zone == machine.zone for eni in attached)
            assert (0 in indexes) == (machine.state is instances.InstanceState.RUNNING)

    @invariant()
    def indexes_equal_table(self) -> None:
        table = {(eni.vpc, address): eni.id for eni in self.cloud.interfaces.values() for address in eni.addresses}
        assert table == self.cloud.holder
        attached = {eni.id for eni in self.cloud.interfaces.values() if eni.attachment}
        assert attached == {id_ for ids in self.cloud.attached.values() for id_ in ids}
        assert attached == set(self.cloud.attachment_owner.values())


def _held(eni: NetworkInterface) -> list[IPv4Address]:
    return [*eni.addresses, *(address for prefix in eni.prefixes for address in prefix)]


TestAccount = Account.TestCase
TestAccount.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_unassign_is_all_or_nothing() -> None:
    """One address that is not there keeps the others assigned."""
    cloud = Cloud(ManualClock())
    net = subnets.create(cloud, vpcs.create(cloud, "10.0.0.0/16").id, "10.0.0.0/24", "a")
    eni = interfaces.create(cloud, Wanted(subnet=net.id, secondary_count=2))
    with pytest.raises(Refused):
        addresses.unassign(cloud, eni.id, [eni.addresses[1], IPv4Address("10.0.0.250")])

    assert eni == cloud.interfaces.get(eni.id)


def test_table_forgets_what_is_older_than_its_memory() -> None:
    """Versions are readable for the memory's length; the last version stays for ever, a removed record does not."""
    table: Table[str] = Table(memory_seconds=10)
    table.put("a", "first", 0)
    table.put("a", "second", 5)
    table.put("gone", "x", 5)
    table.remove("gone", 6)

    assert (table.at("a", 4.9), table.at("a", 5)) == ("first", "second")
    assert table.as_of(5.5) == {"a": "second", "gone": "x"}
    table.put("b", "new", 100)
    assert table.as_of(99) == {"a": "second"}
    assert "gone" not in table._versions
