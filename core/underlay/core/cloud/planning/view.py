"""All that a plan of one node depends on. Frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from underlay.core.api.networkprovider import AddressPolicy, InterfacePolicy
from underlay.core.cloud.model import Instance, IPAddress, Limits, Subnet
from underlay.core.cloud.planning.pressure import Pressure
from underlay.core.cloud.settle import Spot
from underlay.core.identity import InterfaceId, SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """``subnets``: where IPv4 may be asked for now, best first; a blocked one is absent, then interfaces in it do not
    grow. ``homes``: those of the interfaces, blocked or not. ``pressures``: how scarce IPv4 is in them, normal where
    not said. ``whole_blocks``: how many prefixes a call may ask for where fewer than wanted were found lately.

    ``held``: claimed or cooling at the agent. ``leaving``: named by a release under way; ``asking``: the agent has yet
    to answer one. ``appeared``: what ``settle.Known`` does not believe yet; it takes room and keeps its interface from
    deletion. ``floating``: addresses of floating pools, which are no node pool's: they take room, are neither counted
    as usable nor released here. ``taken``: places of an interface and family that somebody else's addresses have.

    ``account_full``: the cloud refuses further interfaces, of whichever node. ``pods`` and ``cooling`` count what each
    family needs. ``max_pods``: the kubelet's limit, None: not known.
    ``cordoned``: no pod will be scheduled there. ``surplus_since``: since when every plan said ``surplus``.
    """

    instance: Instance
    limits: Limits
    cluster: str
    interface_policy: InterfacePolicy
    addresses: AddressPolicy
    subnets: tuple[Subnet, ...]
    homes: Mapping[SubnetId, Subnet] = field(default_factory=dict)
    pressures: Mapping[SubnetId, Pressure] = field(default_factory=dict)
    whole_blocks: Mapping[SubnetId, int] = field(default_factory=dict)
    pods: int
    cooling: int
    held: frozenset[IPAddress]
    leaving: frozenset[IPAddress]
    asking: bool = False
    appeared: frozenset[Spot]
    floating: frozenset[IPAddress] = frozenset()
    taken: Mapping[tuple[InterfaceId, int], int] = field(default_factory=dict)
    account_full: bool = False
    max_pods: int | None = None
    cordoned: bool = False
    now: float
    surplus_since: float | None

    def pressure(self, subnet: SubnetId) -> Pressure:
        """How scarce IPv4 addresses are there."""
        return self.pressures.get(subnet, Pressure.NORMAL)

    def has_ipv6(self, subnet: SubnetId) -> bool:
        """The subnet is known to have an IPv6 block."""
        known = self.homes.get(subnet) or next((item for item in self.subnets if item.id == subnet), None)
        return known is not None and any(cidr.version == 6 for cidr in known.cidrs)
