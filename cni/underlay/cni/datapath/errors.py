"""What the datapath refuses, named by what the caller does next.

    UnderlayError
    └── DatapathError
        ├── InterfaceExists   the pod already has an interface of that name (CNI 1.1 §2 CNI_IFNAME); nothing was changed
        ├── NamespaceGone     the pod's namespace cannot be entered; ADD fails, DEL is done
        ├── MasterMissing     the link that owns the address is not on the host (yet)
        ├── KindConflict      the master already carries slaves of another kind
        ├── AddressBusy       the address is still in use on this master; try again later
        └── KernelRefused     anything else; carries the errno and the step

After any of them the namespaces are as they were before the call.
"""

import os

from underlay.core.errors import UnderlayError


class DatapathError(UnderlayError):
    """A pod's interface could not be made, read or removed."""


class InterfaceExists(DatapathError):
    """``name`` is taken in the namespace ``where``; it was not touched."""

    def __init__(self, name: str, where: str) -> None:
        self.name = name
        self.where = where
        super().__init__(f"interface {name} already exists in {where}")


class NamespaceGone(DatapathError):
    """``path`` is no network namespace (any more)."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"network namespace {path} cannot be entered: {reason}")


class MasterMissing(DatapathError):
    """The host has no link ``name``: the cloud interface is not attached yet, or was renamed."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"master {name} is not on the host")


class KindConflict(DatapathError):
    """The kernel lets a link be master of one kind of slave only (macvlan, ipvlan, bridge port, …)."""

    def __init__(self, master: str, kind: str) -> None:
        self.master = master
        self.kind = kind
        super().__init__(
            f"master {master} cannot take {kind}: it has slaves of another kind, and one master has one kind of slave"
        )


class AddressBusy(DatapathError):
    """Another slave of the same master still has ``address``, also after waiting for it."""

    def __init__(self, address: str, waited_seconds: float) -> None:
        self.address = address
        self.waited_seconds = waited_seconds
        super().__init__(f"address {address} is still assigned to another pod after {waited_seconds:g} s")


class KernelRefused(DatapathError):
    """The kernel answered ``errno`` to ``what``; ``reason`` is its own text where it gave one."""

    def __init__(self, errno: int, what: str, reason: str = "") -> None:
        self.errno = errno
        self.what = what
        self.reason = reason
        super().__init__(f"the kernel refused to {what}: {os.strerror(errno)}" + (f" ({reason})" if reason else ""))
