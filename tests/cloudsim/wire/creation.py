"""CreateNetworkInterface, and the tags that come with a new resource."""

from collections.abc import Mapping

from cloudsim.model import interfaces, ipv6
from cloudsim.model.cloud import Cloud
from cloudsim.model.errors import Refused, invalid_value
from cloudsim.model.interfaces import NetworkInterface, Wanted
from cloudsim.model.ipv6 import Wanted6
from cloudsim.model.subnets import parse_address, parse_prefix
from cloudsim.wire import shapes
from cloudsim.wire.done import Done
from cloudsim.wire.query import Params
from cloudsim.wire.xml import Node


def create_network_interface(cloud: Cloud, params: Params) -> Done:
    token = params.text("ClientToken")
    wanted = _wanted(params)
    params.finish()
    asked = params.fingerprint(without=frozenset({"ClientToken"}))
    if token and (made := cloud.tokens.find("CreateNetworkInterface", token, asked, cloud.now())):
        earlier = cloud.interfaces.get(made)
        if earlier is None:
            raise Refused("InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{made}' does not exist")
        return Done(body=_created(cloud, earlier, token))
    eni = interfaces.create(cloud, wanted)
    if token:
        cloud.tokens.remember("CreateNetworkInterface", token, asked, eni.id, cloud.now())
    return Done(body=_created(cloud, eni, token))


def tag_specification(params: Params, resource_type: str) -> Mapping[str, str]:
    """The tags of the new resource, whose type is the only one that may be named."""
    found: dict[str, str] = {}
    for specification in params.elements("TagSpecification"):
        kind = specification.required("ResourceType")
        if kind != resource_type:
            raise invalid_value(f"'{kind}' is not a valid taggable resource type for this operation.")
        for element in specification.elements("Tag"):
            key = element.required("Key")
            if key in found:
                raise invalid_value(f"Duplicate tag key '{key}' specified.")
            found[key] = element.text("Value") or ""
    return found


def one_of(**given: object) -> None:
    """Refuses two ways of asking for the same thing in one request."""
    asked = [name for name, value in given.items() if value]
    if len(asked) > 1:
        raise Refused(
            "InvalidParameterCombination",
            f"The parameter {asked[0]} cannot be used with the parameter {asked[1]}",
        )


def _wanted(params: Params) -> Wanted:
    subnet = params.required("SubnetId")
    primary = params.text("PrivateIpAddress")
    count = params.integer("SecondaryPrivateIpAddressCount")
    listed = [
        (parse_address(element.required("PrivateIpAddress")), element.boolean("Primary") or False)
        for element in params.elements("PrivateIpAddresses")
    ]
    prefixes = _nested(params, "Ipv4Prefix", "Ipv4Prefix")
    prefix_count = params.integer("Ipv4PrefixCount")
    for name, number in (("secondaryPrivateIpAddressCount", count), ("ipv4PrefixCount", prefix_count)):
        if number is not None and number < 0:
            raise invalid_value(f"Value ({number}) for parameter {name} is invalid.")
    one_of(
        secondaryPrivateIpAddressCount=count is not None,
        privateIpAddresses=len(listed) > 1 or any(not is_primary for _, is_primary in listed),
        ipv4PrefixCount=prefix_count is not None,
        ipv4Prefixes=prefixes,
    )
    primaries = [address for address, is_primary in listed if is_primary]
    if primary is not None:
        primaries.append(parse_address(primary))
    if len(primaries) > 1:
        raise invalid_value("Only one primary private IP address can be specified")
    return Wanted(
        subnet=subnet,
        description=params.text("Description") or "",
        groups=params.texts("SecurityGroupId"),
        primary=primaries[0] if primaries else None,
        secondary=tuple(address for address, is_primary in listed if not is_primary),
        secondary_count=count or 0,
        prefixes=tuple(parse_prefix(text) for text in prefixes),
        prefix_count=prefix_count or 0,
        ipv6=_wanted6(params),
        tags=tag_specification(params, "network-interface"),
        type=params.text("InterfaceType") or "interface",
    )


def _wanted6(params: Params) -> Wanted6:
    addresses = _nested(params, "Ipv6Addresses", "Ipv6Address")
    count = params.integer("Ipv6AddressCount")
    prefixes = _nested(params, "Ipv6Prefix", "Ipv6Prefix")
    prefix_count = params.integer("Ipv6PrefixCount")
    one_of(
        ipv6AddressCount=count is not None,
        ipv6Addresses=addresses,
        ipv6PrefixCount=prefix_count is not None,
        ipv6Prefixes=prefixes,
    )
    if (count or 0) < 0 or (prefix_count or 0) < 0:
        raise invalid_value("Invalid value for parameter Ipv6AddressCount or Ipv6PrefixCount: it must be positive.")
    return Wanted6(
        addresses=tuple(ipv6.parse_address(text) for text in addresses),
        count=count or 0,
        prefixes=tuple(ipv6.parse_prefix(text) for text in prefixes),
        prefix_count=prefix_count or 0,
    )


def _nested(params: Params, name: str, member: str) -> tuple[str, ...]:
    return tuple(element.required(member) for element in params.elements(name))


def _created(cloud: Cloud, eni: NetworkInterface, token: str | None) -> Mapping[str, Node]:
    groups = dict(cloud.security_groups.items())
    shape = shapes.network_interface(eni, groups, cloud.tags.get(eni.id) or {}, cloud.account)
    return {"networkInterface": {**shape, "status": "pending"}, "clientToken": token}
