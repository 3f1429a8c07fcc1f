"""Accounts: each has its own resources, throttling and attachments under way, and none sees another's."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cloudsim.model.cloud import ACCOUNT, Cloud
from cloudsim.server.buckets import Buckets
from cloudsim.server.effects import Effects
from cloudsim.server.fabric_link import FabricLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    cloud: Cloud
    fabric: FabricLink
    effects: Effects
    buckets: Buckets | None


class Accounts:
    """By number. An account is there as soon as it is named; the first one belongs to whoever names none."""

    def __init__(self, make: Callable[[str], Account]) -> None:
        self._make = make
        self._by_number = {ACCOUNT: make(ACCOUNT)}

    def __iter__(self) -> Iterator[Account]:
        return iter(tuple(self._by_number.values()))

    def of(self, number: str) -> Account:
        if number not in self._by_number:
            self._by_number[number] = self._make(number)
        return self._by_number[number]

    def owning(self, id_: str) -> Account:
        """Whose resource ``id_`` is; nobody's: the first account, in which it will not be found."""
        return next((account for account in self if account.cloud.has(id_)), self.of(ACCOUNT))
