"""What the operator keeps of a pod: of 150,000 at once everything counts.

The pods of a workload have the same labels, annotations and owner, those of a node the same spec; each of these is kept
once. Annotations that are not about networks, and pods' own addresses (pools tell who holds what), are not kept.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import TypeVar

from msgspec import structs

from underlay.core.api.kubernetes import Pod, PodSpec, PodStatus
from underlay.core.api.meta import OwnerReference

H = TypeVar("H", bound=Hashable)

_ABOUT_NETWORKS = ("spidernet.io", "kubevirt.io", "cni.cncf.io", "multus-cni.io")
_ABOUT_RESULTS = ("network-status", "networks-status")
_REMEMBERED = 16_384


class PodKeeper:
    """Remembers what was seen last of each kind of part; what is forgotten meanwhile is kept a second time."""

    def __init__(self, *, remembered: int = _REMEMBERED) -> None:
        self._texts: Callable[[str], str] = lru_cache(remembered)(_itself)
        self._specs: Callable[[PodSpec], PodSpec] = lru_cache(remembered)(_itself)
        self._statuses: Callable[[str, str], PodStatus] = lru_cache(remembered)(_status)
        self._maps: Callable[[tuple[tuple[str, str], ...]], dict[str, str]] = lru_cache(remembered)(dict)
        self._owners: Callable[[tuple[OwnerReference, ...]], list[OwnerReference]] = lru_cache(remembered)(list)

    def keep(self, pod: Pod) -> Pod:
        """What is kept of ``pod``."""
        meta = pod.metadata
        annotations = tuple((key, value) for key, value in meta.annotations.items() if _is_wanted(key))
        return structs.replace(
            pod,
            metadata=structs.replace(
                meta,
                namespace=self._texts(meta.namespace or ""),
                creation_timestamp=self._texts(meta.creation_timestamp or ""),
                labels=self._maps(tuple(meta.labels.items())),
                annotations=self._maps(annotations),
                owner_references=self._owners(tuple(meta.owner_references)),
            ),
            spec=self._specs(pod.spec),
            status=self._statuses(pod.status.phase, pod.status.reason),
        )


def _is_wanted(annotation: str) -> bool:
    domain, _, name = annotation.partition("/")
    return domain.endswith(_ABOUT_NETWORKS) and name not in _ABOUT_RESULTS


def _status(phase: str, reason: str) -> PodStatus:
    return PodStatus(phase=phase, reason=reason)


def _itself(value: H) -> H:
    return value
