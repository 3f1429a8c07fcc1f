"""Addresses and prefixes of an interface: AssignPrivateIpAddresses, AssignIpv6Addresses and their opposites."""

from cloudsim.model import addresses, ipv6
from cloudsim.model.cloud import Cloud
from cloudsim.model.errors import Refused, invalid_value
from cloudsim.model.ipv6 import Wanted6
from cloudsim.model.subnets import parse_address, parse_prefix
from cloudsim.wire.creation import one_of
from cloudsim.wire.done import TRUE, Done
from cloudsim.wire.query import Params


def assign_private_ip_addresses(cloud: Cloud, params: Params) -> Done:
    interface = params.required("NetworkInterfaceId")
    named = tuple(parse_address(text) for text in params.texts("PrivateIpAddress"))
    count = params.integer("SecondaryPrivateIpAddressCount")
    prefixes = tuple(parse_prefix(text) for text in params.texts("Ipv4Prefix"))
    prefix_count = params.integer("Ipv4PrefixCount")
    reassign = params.boolean("AllowReassignment") or False
    params.finish()
    one_of(
        secondaryPrivateIpAddressCount=count is not None,
        privateIpAddresses=named,
        ipv4PrefixCount=prefix_count is not None,
        ipv4Prefixes=prefixes,
    )
    if prefixes or prefix_count is not None:
        new = addresses.assign_prefixes(cloud, interface, count=prefix_count or 0, named=prefixes)
        return Done(
            body={
                **TRUE,
                "networkInterfaceId": interface,
                "assignedIpv4PrefixSet": [{"ipv4Prefix": str(prefix)} for prefix in new],
            },
            changed=(interface,),
        )
    if named:
        done = addresses.assign_exactly(cloud, interface, named, reassign=reassign)
    elif count is not None:
        done = addresses.assign(cloud, interface, count)
    else:
        raise Refused(
            "MissingParameter", "Either secondary private addresses or the secondary private address count is required"
        )
    return Done(
        body={
            **TRUE,
            "networkInterfaceId": interface,
            "assignedPrivateIpAddressesSet": [{"privateIpAddress": str(address)} for address in done.addresses],
        },
        changed=(*done.donors, interface),
    )


def unassign_private_ip_addresses(cloud: Cloud, params: Params) -> Done:
    interface = params.required("NetworkInterfaceId")
    named = tuple(parse_address(text) for text in params.texts("PrivateIpAddress"))
    prefixes = tuple(parse_prefix(text) for text in params.texts("Ipv4Prefix"))
    params.finish()
    if not named and not prefixes:
        raise Refused("MissingParameter", "The request must contain the parameter privateIpAddresses")
    addresses.unassign(cloud, interface, named, prefixes)
    return Done(body=TRUE, changed=(interface,))


def assign_ipv6_addresses(cloud: Cloud, params: Params) -> Done:
    interface = params.required("NetworkInterfaceId")
    named = tuple(ipv6.parse_address(text) for text in params.texts("Ipv6Addresses"))
    count = params.integer("Ipv6AddressCount")
    prefixes = tuple(ipv6.parse_prefix(text) for text in params.texts("Ipv6Prefix"))
    prefix_count = params.integer("Ipv6PrefixCount")
    params.finish()
    one_of(
        ipv6AddressCount=count is not None,
        ipv6Addresses=named,
        ipv6PrefixCount=prefix_count is not None,
        ipv6Prefixes=prefixes,
    )
    if (count or 0) < 0 or (prefix_count or 0) < 0:
        raise invalid_value("Invalid value for parameter Ipv6AddressCount or Ipv6PrefixCount: it must be positive.")
    wanted = Wanted6(addresses=named, count=count or 0, prefixes=prefixes, prefix_count=prefix_count or 0)
    if not wanted.slots:
        raise Refused("MissingParameter", "Either IPv6 addresses or the IPv6 address count is required")
    new, new_prefixes = ipv6.assign(cloud, interface, wanted)
    return Done(
        body={
            "networkInterfaceId": interface,
            "assignedIpv6Addresses": [str(address) for address in new],
            "assignedIpv6PrefixSet": [str(prefix) for prefix in new_prefixes],
        },
        changed=(interface,),
    )


def unassign_ipv6_addresses(cloud: Cloud, params: Params) -> Done:
    interface = params.required("NetworkInterfaceId")
    named = tuple(ipv6.parse_address(text) for text in params.texts("Ipv6Addresses"))
    prefixes = tuple(ipv6.parse_prefix(text) for text in params.texts("Ipv6Prefix"))
    params.finish()
    if not named and not prefixes:
        raise Refused("MissingParameter", "The request must contain the parameter ipv6Addresses")
    ipv6.unassign(cloud, interface, named, prefixes)
    return Done(
        body={
            "networkInterfaceId": interface,
            "unassignedIpv6Addresses": [str(address) for address in named],
            "unassignedIpv6PrefixSet": [str(prefix) for prefix in prefixes],
        },
        changed=(interface,),
    )
