"""Keeps calls away from a cloud that is in trouble: normal → no release → no calls. Pure: the caller says what time
it is (a monotonic clock's).

Each operation has a window of its latest outcomes and a level of its own, so that the outage of one does not stop the
others; when most operations in use are in trouble, the level holds for the whole account and region.

normal      everything is sent
no-release  what shrinks (Unassign…, Detach…, Delete…) is not sent: pods wait for growth, nobody waits for a release
no-calls    nothing is sent

What an operation's own level refuses is tried all the same once per interval, so that recovery is noticed. It goes
step by step: after some good answers in a row, or a window without any, the next lower level. By hand a level is held
and nothing is tried.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum

from underlay.core.errors import InvalidInput

ANNOTATION = "underlay.spidernet.io/breaker"
"""Of a SpiderNetworkProvider: the level set by hand."""
BREAKER_OPEN = "BreakerOpen"
"""The code of the ``Unavailable`` that refused calls raise."""

_SHRINKING = ("Unassign", "Detach", "Delete")


class Level(IntEnum):
    """How much is sent, most first."""

    NORMAL = 0
    NO_RELEASE = 1
    NO_CALLS = 2

    @property
    def text(self) -> str:
        """As people write it."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """When a level is reached: so many failures, and such a share, among the ``remembered`` latest outcomes of
    ``window_seconds``. ``good_in_a_row`` lead one level down.
    """

    window_seconds: float = 60.0
    remembered: int = 40
    suspect_failures: int = 10
    suspect_share: float = 0.5
    broken_failures: int = 20
    broken_share: float = 0.9
    probe_seconds: float = 5.0
    good_in_a_row: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``failed``: the cloud did not do its work (throttled, unavailable, no reply), whatever was asked."""

    at: float
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One operation. ``why``: the failure that led to the level."""

    outcomes: tuple[Outcome, ...] = ()
    level: Level = Level.NORMAL
    since: float = float("-inf")
    good: int = 0
    probe_at: float = float("-inf")
    why: str = ""

    def in_use(self, now: float, terms: Terms) -> bool:
        """Something was heard of it lately."""
        return bool(self.outcomes) and now - self.outcomes[-1].at <= terms.window_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """``scope``: the operation, or "" for all of them; ``until``: when one is tried again, None: a person decides."""

    level: Level
    scope: str
    since: float
    until: float | None
    why: str


def parse(text: str) -> Level:
    """A level as people write it."""
    levels = {level.text: level for level in Level}
    if text not in levels:
        raise InvalidInput(f"metadata.annotations[{ANNOTATION}]", found=text, expected=" or ".join(levels))
    return levels[text]


def aged(health: Health, now: float, terms: Terms) -> Health:
    """One level less for each window in which nothing was heard."""
    if health.level is Level.NORMAL:
        return health
    heard_at = max(health.since, health.outcomes[-1].at if health.outcomes else float("-inf"))
    windows = int((now - heard_at) // terms.window_seconds)
    if windows <= 0:
        return health
    level = Level(max(health.level - windows, Level.NORMAL))
    return replace(health, level=level, since=heard_at + windows * terms.window_seconds, outcomes=(), good=0)


def heard(health: Health, outcome: Outcome, why: str, terms: Terms) -> Health:
    """After one more outcome."""
    now = outcome.at
    health = aged(health, now, terms)
    kept = tuple(item for item in health.outcomes if now - item.at <= terms.window_seconds)
    outcomes = (*kept, outcome)[-terms.remembered :]
    if not outcome.failed:
        good = health.good + 1
        if health.level is not Level.NORMAL and good >= terms.good_in_a_row:
            level = Level(health.level - 1)
            return Health(level=level, since=now, why=health.why if level else "", outcomes=(outcome,))
        return replace(health, outcomes=outcomes, good=good, probe_at=now)
    level = max(health.level, _deserved(outcomes, terms))
    health = replace(health, outcomes=outcomes, good=0, probe_at=now + terms.probe_seconds)
    return health if level == health.level else replace(health, level=level, since=now, why=why)


def _deserved(outcomes: tuple[Outcome, ...], terms: Terms) -> Level:
    failures = sum(outcome.failed for outcome in outcomes)
    share = failures / len(outcomes)
    if failures >= terms.broken_failures and share >= terms.broken_share:
        return Level.NO_CALLS
    if failures >= terms.suspect_failures and share >= terms.suspect_share:
        return Level.NO_RELEASE
    return Level.NORMAL


def of_account(operations: Iterable[Health], now: float, terms: Terms) -> Level:
    """The highest level that most operations in use, and two at least, have reached. ``operations`` are aged."""
    levels = sorted((health.level for health in operations if health.in_use(now, terms)), reverse=True)
    majority = max(len(levels) // 2 + 1, 2)
    return levels[majority - 1] if len(levels) >= majority else Level.NORMAL


@dataclass(slots=True)
class Breaker:
    """All operations of one account and region. ``by_hand`` outranks what is found."""

    terms: Terms = field(default_factory=Terms)
    by_hand: Level | None = None
    _operations: dict[str, Health] = field(default_factory=dict)

    def operations(self, now: float) -> dict[str, Health]:
        """What is known of each operation."""
        return {name: aged(health, now, self.terms) for name, health in sorted(self._operations.copy().items())}

    def level(self, now: float) -> Level:
        """Of the account: by hand, or what most operations have."""
        if self.by_hand is not None:
            return self.by_hand
        return of_account(self.operations(now).values(), now, self.terms)

    def worst(self, now: float) -> Level:
        """The highest level at which anything is held now."""
        if self.by_hand is not None:
            return self.by_hand
        return max((health.level for health in self.operations(now).values()), default=Level.NORMAL)

    def refusal(self, operation: str, now: float) -> Refusal | None:
        """Why the operation must not be sent now; None: it may."""
        shrinks = operation.startswith(_SHRINKING)
        allowed = Level.NORMAL if shrinks else Level.NO_RELEASE
        if self.by_hand is not None:
            if self.by_hand <= allowed:
                return None
            return Refusal(level=self.by_hand, scope="", since=now, until=None, why="set by hand")
        everything = self.operations(now)
        health = everything.get(operation, Health())
        account = of_account(everything.values(), now, self.terms)
        level = max(health.level, account)
        if level <= allowed or (health.level and now >= health.probe_at):
            return None
        if health.level >= account:
            return Refusal(level=level, scope=operation, since=health.since, until=health.probe_at, why=health.why)
        # Those that led here are tried; the others wait for them.
        guilty = [other for other in everything.values() if other.level >= account and other.in_use(now, self.terms)]
        latest = max(guilty, key=lambda other: other.since)
        until = max(min(other.probe_at for other in guilty), now)
        return Refusal(level=level, scope="", since=latest.since, until=until, why=latest.why)

    def admit(self, operation: str, now: float) -> Refusal | None:
        """As ``refusal``; what is admitted though its level forbids it is the one try of this interval."""
        refused = self.refusal(operation, now)
        if refused is None and (health := self._operations.get(operation)) is not None and health.level:
            self._operations[operation] = replace(health, probe_at=now + self.terms.probe_seconds)
        return refused

    def heard(self, operation: str, outcome: Outcome, why: str = "") -> None:
        """A call of the operation came to this end."""
        self._operations[operation] = heard(self._operations.get(operation, Health()), outcome, why, self.terms)
