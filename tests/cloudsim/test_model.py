"""The model under random operations: what must hold whatever is asked of it."""

from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from cloudsim.clock import ManualClock
from cloudsim.model import addresses, attachments, instances, interfaces, subnets, vpcs
from cloudsim.model.cloud import Cloud
from cloudsim.model.errors import Refused
from cloudsim.model.interfaces import Wanted
from cloudsim.model.table import Table

TYPES = ("t3.small", "t3.medium", "m5.large")


class Account(RuleBasedStateMachine):
    """A small VPC in which subnets run full. Refusals are part of the game; a broken invariant is not."""

    made = Bundle("made")
    machines = Bundle("machines")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.cloud = Cloud(self.clock, seed=1)
        vpc = vpcs.create(self.cloud, "10.0.0.0/24")
        self.nets = [
            subnets.create(self.cloud, vpc.id, "10.0.0.0/28", "a").id,
            subnets.create(self.cloud, vpc.id, "10.0.0.32/27", "a").id,
            subnets.create(self.cloud, vpc.id, "10.0.0.64/28", "b").id,
        ]

    def attempt(self, call: Callable[[], object]) -> None:
        """A refused call changes nothing."""
        before = (dict(self.cloud.interfaces.items()), dict(self.cloud.subnets.items()))
        try:
            call()
        except Refused:
            assert before == (dict(self.cloud.interfaces.items()), dict(self.cloud.subnets.items()))

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
        owners = Counter(address for eni in self.cloud.interfaces.values() for address in eni.addresses)
        assert not [address for address, count in owners.items() if count > 1]

    @invariant()
    def bitmap_equals_table(self) -> None:
        for net in self.cloud.subnets.values():
            held = {
                address for eni in self.cloud.interfaces.values() if eni.subnet == net.id for address in eni.addresses
            }
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
            assert all(len(eni.addresses) <= type_.ipv4 for eni in attached)
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
