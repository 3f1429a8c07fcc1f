"""Why a node cannot have all the addresses it should, in words for a person. Pure."""

from underlay.core.cloud.model import InterfaceState, Kind
from underlay.core.cloud.planning.site import Site, families, places
from underlay.core.cloud.planning.view import NodeView


def shortage(view: NodeView, site: Site, *, lack: int, granted: int) -> str:
    """Why part of ``lack`` cannot be asked for, or why even the whole target leaves no address for another pod.

    The first word says what is short (``Plan.shortage``); empty: nothing is.
    """
    used = view.pods + view.cooling
    if text := _never(view, site):
        return text
    open_ = sum(berth.room - berth.leading.own for berth in site.berths) + site.per_slot * len(site.slots)
    if granted < min(lack, open_):
        return _subnet(view, site, lack - granted)
    if granted < lack and not site.barred:
        return f"interface: {lack - granted} more addresses wait for an interface or address that is being released"
    if granted >= lack and (used < site.room or (view.max_pods is not None and used <= view.max_pods <= site.room)):
        return ""
    if site.barred:
        return "account: the cloud refuses further interfaces in this account and region"
    if any(item.state in (InterfaceState.DETACHING, InterfaceState.AVAILABLE) for item in site.mine):
        return "interface: one more interface is possible as soon as another has been detached"
    limits, policy = view.limits, view.interface_policy
    if site.room < site.per_slot * (limits.interfaces - site.foreign):
        settings = f"max {policy.max}, reserved {policy.reserved}, usePrimary {str(policy.use_primary).lower()}"
        return f"policy: spec.interfaces ({settings}) leaves pods {site.room} addresses, {used} are in use"
    what = "addresses or prefixes" if site.kind.is_prefix else "addresses"
    each = limits.ipv4_per_interface if families(view)[0] == 4 else limits.ipv6_per_interface
    allowed = f"{limits.interfaces} interfaces of {each} {what}"
    return f"instance: {view.instance.type} allows {allowed}, {site.room} of them for pods, {used} are in use"


def _never(view: NodeView, site: Site) -> str:
    """What no waiting changes."""
    type_, mode = view.instance.type, view.addresses.mode
    if mode == "prefix" and not view.limits.prefixes:
        return f"instance: {type_} cannot have prefixes; set spec.addresses.mode to auto or secondaryIP"
    if 6 not in families(view):
        return ""
    if places(view, 6) == 0:
        return f"instance: {type_} cannot have IPv6 addresses; leave ipv6 out of spec.addresses.families"
    reach = {berth.interface.subnet for berth in site.berths} | {subnet.id for subnet in view.subnets}
    if reach and not any(map(view.has_ipv6, reach)):
        return f"subnet: none of {', '.join(sorted(reach))} has an IPv6 block, which spec.addresses.families asks for"
    return ""


def _subnet(view: NodeView, site: Site, missing: int) -> str:
    reach = {berth.interface.subnet for berth in site.berths} | {subnet.id for subnet in view.subnets}
    asked = f" (asked: {', '.join(sorted(reach))})" if reach else ""
    text = f"subnet: {missing} more addresses are wanted"
    if site.kind is Kind.IPV4_PREFIX and any(view.whole_blocks.get(id_, 1) < 1 for id_ in reach):
        advice = "reserve blocks for prefixes there or set spec.addresses.mode to auto"
        return f"{text}, no usable subnet of the node's zone has a whole block of 16 free{asked}; {advice}"
    return f"{text}, no usable subnet of the node's zone has them free{asked}"
