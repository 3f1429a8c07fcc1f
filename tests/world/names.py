"""How the parts of a world are called. Pure.

A world's name has no hyphen, so that ``<name>-`` begins the namespaces of exactly one world.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

NETNS_FOLDER = Path("/run/netns")
_VALID = re.compile(r"[a-z][a-z0-9]{0,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names derived from ``world``. ``ValueError`` if that cannot be a world's name."""

    world: str

    def __post_init__(self) -> None:
        if not _VALID.fullmatch(self.world):
            raise ValueError(
                f"{self.world!r} cannot name a world: up to ten lower-case letters and digits are possible"
            )

    @property
    def bridge(self) -> str:
        """The management network's bridge on the host."""
        return f"{self.world}-mgmt"

    def management_link(self, node: int) -> str:
        """The host's end of a node's management link."""
        return f"{self.world}-m{node}"

    def node_namespace(self, node: str) -> str:
        """Of the node's own network."""
        return f"{self.world}-{node}"

    def sandbox(self, pod_uid: str, attempt: int) -> str:
        """The network namespace of a pod's ``attempt``-th sandbox."""
        return f"{self.world}-pod-{pod_uid[:8]}-{attempt}"

    @property
    def cni_network(self) -> str:
        """Of the node's CNI configuration; libcni's cache files begin with it."""
        return f"underlay-{self.world}"

    def owns_namespace(self, name: str) -> bool:
        """Whether a network namespace belongs to this world."""
        return name.startswith(f"{self.world}-")

    def owns_link(self, name: str) -> bool:
        """Whether a link of the host belongs to this world."""
        return name == self.bridge or re.fullmatch(rf"{self.world}-m\d+", name) is not None


def netns_path(name: str) -> Path:
    """Where ``ip netns`` keeps a namespace."""
    return NETNS_FOLDER / name


def container_id(netns: Path) -> str:
    """The container id that cnitool derives from a namespace's path."""
    return f"cnitool-{hashlib.sha512(str(netns).encode()).hexdigest()[:20]}"
