"""What the verbs answer, in CNI's terms: an attachment that was made as its result, a refusal as its code. Pure."""

from ipaddress import ip_interface

from underlay.cni.datapath.calls import Attached
from underlay.cni.datapath.errors import (
    AddressBusy,
    DatapathError,
    InterfaceExists,
    KernelRefused,
    KindConflict,
    MasterMissing,
    NamespaceGone,
)
from underlay.cni.errors import CniError, Code
from underlay.cni.protocol import AddResult, CniRequest, ResultAddress, ResultInterface
from underlay.core.errors import InvalidInput
from underlay.core.ipam.allocate import Assigned


def cni_error(error: DatapathError | InvalidInput, request: CniRequest) -> CniError:
    """What the datapath refused, in CNI's codes."""
    match error:
        case InterfaceExists():
            return CniError(Code.INVALID_ENVIRONMENT, f"CNI_IFNAME: {error}")
        case NamespaceGone():
            return CniError(Code.INVALID_NETNS, f"CNI_NETNS: {error}")
        case MasterMissing() | AddressBusy() | KindConflict():
            return CniError(Code.TRY_AGAIN, str(error))
        case KernelRefused():
            return CniError(Code.REFUSED_BY_KERNEL, f"interface {request.attachment.ifname}: {error}")
        case InvalidInput():
            return CniError(Code.INVALID_CONFIG, str(error))
        case _:
            return CniError(Code.INTERNAL, str(error))


def add_result(assigned: Assigned, attached: Attached, *, default_route: bool) -> AddResult:
    """The first link is the one that was asked for and has the addresses."""
    return AddResult(
        interfaces=tuple(
            ResultInterface(name=link.name, mac=link.mac, mtu=link.mtu, sandbox=link.sandbox)
            for link in attached.interfaces
        ),
        addresses=tuple(
            ResultAddress(
                address=ip_interface((grant.address, grant.pool.subnet.prefixlen)),
                gateway=grant.pool.gateway if default_route else None,
                interface=0,
            )
            for grant in assigned.grants
        ),
    )
