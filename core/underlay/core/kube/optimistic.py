"""Read, decide, write; when somebody else wrote in between, read and decide again."""

import random
from collections.abc import Awaitable, Callable

from underlay.core.kube.client import KubeClient
from underlay.core.kube.errors import Conflict
from underlay.core.kube.resources import T
from underlay.core.runtime.clock import Clock, RealClock

_ATTEMPTS = 30
_SHORTEST_SECONDS = 0.005
_LONGEST_SECONDS = 0.5


async def update(
    client: KubeClient,
    kind: type[T],
    name: str,
    change: Callable[[T], T | None],
    *,
    namespace: str | None = None,
    status: bool = False,
    start: T | None = None,
    sure: Callable[[], Awaitable[None]] | None = None,
    clock: Clock | None = None,
) -> T:
    """Replace the object (``status``: its status alone) by ``change`` of it; the object as it is afterwards.

    ``change`` decides anew on each attempt and returns None when nothing is to be done. It never sees a stale decision
    of its own: only a ``Conflict`` leads to another attempt, any other error is raised. ``start``: what is known of
    the object (from a store), which saves the first read; if it is old, the first write conflicts. ``sure`` is awaited
    between what is known and ``change``, on each attempt; what it raises ends the update.
    Only for kinds of our own group (see ``KubeClient.replace``). Raises ``Conflict`` after 30 attempts, ``NotFound``.
    """
    write = client.replace_status if status else client.replace
    current = start
    for attempt in range(_ATTEMPTS):
        if current is None:
            current = await client.get(kind, name, namespace)
        if sure is not None:
            await sure()
        wanted = change(current)
        if wanted is None:
            return current
        try:
            return await write(wanted)
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
        current = None
        longest = min(_LONGEST_SECONDS, _SHORTEST_SECONDS * 2**attempt)
        await (clock or RealClock()).sleep(random.uniform(0, longest))  # noqa: S311 - spreads writers, guards nothing
    raise AssertionError("the last attempt returns or raises")
