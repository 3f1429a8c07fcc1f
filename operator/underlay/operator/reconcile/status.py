"""What is known of a node → the operator's part of its SpiderNodeNetwork."""

from collections.abc import Mapping, Sequence

from msgspec import structs

from underlay.core.api.conditions import Status, set_condition
from underlay.core.api.meta import Condition
from underlay.core.api.nodenetwork import Floating, InstanceStatus, InterfaceStatus, LimitsStatus, OperatorStatus
from underlay.core.cloud import items
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import Instance, Limits, NetworkInterface, Subnet
from underlay.core.cloud.planning.plan import Plan
from underlay.core.identity import SubnetId
from underlay.operator.reconcile.advice import Advice

SUFFICIENT = "SufficientIP"
LIMIT_REACHED = "LimitReached"

_TO_DO = {
    "instance": "use a larger instance type, or have fewer pods on the node",
    "policy": "let the provider's spec.interfaces allow more, or have fewer pods on the node",
    "account": "ask the cloud to raise the account's quota, or delete interfaces that nobody uses",
    "subnet": "free addresses in the subnets, or add another one of the zone to the provider's spec.subnets",
}


def instance_status(instance: Instance) -> InstanceStatus:
    """The machine, without its interfaces."""
    return InstanceStatus(id=instance.id, type=instance.type, zone=instance.zone, state=instance.state)


def limits_status(limits: Limits) -> LimitsStatus:
    """The instance type's limits."""
    return LimitsStatus(
        interfaces=limits.interfaces,
        ipv4_per_interface=limits.ipv4_per_interface,
        ipv6_per_interface=limits.ipv6_per_interface,
    )


def accepted(interface: InterfaceStatus) -> frozenset[Item]:
    """All that is on record as assigned to it."""
    fixed = (item.address for item in interface.floating if not item.arriving)
    return frozenset(map(items.parse, (*interface.addresses, *interface.prefixes, *fixed)))


def interface_status(
    interface: NetworkInterface,
    subnets: Mapping[SubnetId, Subnet],
    fixed: Sequence[Floating] = (),
    *,
    managed: bool = True,
    foreign: frozenset[Item] = frozenset(),
) -> InterfaceStatus:
    """One interface; its subnet must be among ``subnets``. ``fixed`` addresses are no node pool's."""
    apart = {item.address for item in fixed}
    subnet = subnets[interface.subnet]
    # The first block of a family; a gateway that the cloud does not tell is learnt on the node.
    pairs = reversed(list(zip(subnet.cidrs, subnet.gateways, strict=True)))
    of_family = {cidr.version: (str(cidr), str(gateway) if gateway else "") for cidr, gateway in pairs}
    (ipv4_cidr, ipv4_gateway), (ipv6_cidr, ipv6_gateway) = (of_family.get(family, ("", "")) for family in (4, 6))
    return InterfaceStatus(
        id=interface.id,
        mac=interface.mac,
        device_index=-1 if interface.device_index is None else interface.device_index,
        network_card=interface.network_card,
        primary=interface.primary,
        state=interface.state,
        subnet=interface.subnet,
        ipv4_cidr=ipv4_cidr,
        ipv4_gateway=ipv4_gateway,
        ipv6_cidr=ipv6_cidr,
        ipv6_gateway=ipv6_gateway,
        managed=managed,
        foreign=items.texts(foreign),
        primary_address=str(interface.primary_address),
        addresses=[
            str(address)
            for address in sorted(interface.addresses, key=lambda item: (item.version, int(item)))
            if str(address) not in apart
        ],
        prefixes=[str(prefix) for prefix in sorted(interface.prefixes, key=str)],
        floating=list(fixed),
    )


def sufficient(
    conditions: list[Condition], plan: Plan, pods: int, trouble: Advice | None, *, now: str, generation: int | None
) -> list[Condition]:
    """Condition SufficientIP: whether every bound pod has an address or soon will; else why not and what to do."""
    if plan.usable >= max(plan.target, pods):
        text = f"{plan.usable} addresses for {pods} pods"
        return set_condition(conditions, SUFFICIENT, "True", "Enough", text, now, generation)
    lack = f"{plan.usable} of {max(plan.target, pods)} addresses for {pods} pods"
    status: Status = "True" if plan.usable >= pods else "False"
    if trouble is not None:
        return set_condition(
            conditions, SUFFICIENT, status, trouble.reason, f"{lack}. {trouble.message}", now, generation
        )
    if plan.shortage:
        return set_condition(
            conditions, SUFFICIENT, status, LIMIT_REACHED, f"{lack}: {shortage(plan.shortage)}", now, generation
        )
    return set_condition(conditions, SUFFICIENT, status, "Growing", f"{lack}: more are being assigned", now, generation)


def shortage(text: str) -> str:
    """A plan's shortage with what to do about it."""
    to_do = _TO_DO.get(text.partition(":")[0], "nothing, the operator waits for it")
    return f"{text}. To do: {to_do}."


def unreadable(had: OperatorStatus, trouble: Advice, now: str) -> OperatorStatus:
    """Nothing is known of the node's instance: what was known stays, the condition says why nothing newer is."""
    conditions = set_condition(had.conditions, SUFFICIENT, "Unknown", trouble.reason, trouble.message, now, None)
    return structs.replace(had, conditions=conditions)
