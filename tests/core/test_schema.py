from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from underlay.core.addresses import parse_address, window
from underlay.core.api.crds import main, openapi
from underlay.core.api.ipblock import BlockEntry, block, block_name
from underlay.core.api.ippool import PoolAllocation, parse_allocations, render_allocations
from underlay.core.api.kinds import definitions
from underlay.core.api.meta import keyed_by, wire_name
from underlay.core.api.schema import structural
from underlay.core.api.subnet import PoolShare, parse_shares, render_shares

CRDS = Path(__file__).parents[2] / "charts" / "underlay" / "crds"


class Leaf(Struct, kw_only=True, rename=wire_name):
    """Has a ``mac_prefix``."""

    mac_prefix: str
    count: int = 3


class Defaulted(Struct, frozen=True, kw_only=True):
    """All its fields have defaults."""

    mode: str = "auto"
    names: list[str] = []


class Holder(Struct, kw_only=True):
    """Holds the others."""

    inner: Defaulted = Defaulted()
    flag: bool = False
    note: str = ""
    families: list[str] = msgspec.field(default_factory=lambda: ["ipv4"])


LEAF = {
    "type": "object",
    "description": "Has a 'macPrefix'.",
    "properties": {"macPrefix": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["macPrefix"],
}


@pytest.mark.parametrize(
    ("type_", "schema"),
    [
        pytest.param(bool, {"type": "boolean"}, id="bool"),
        pytest.param(Annotated[int, Meta(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}, id="int"),
        pytest.param(Annotated[float, Meta(ge=0)], {"type": "number", "minimum": 0}, id="float"),
        pytest.param(
            Annotated[str, Meta(min_length=1, max_length=3, pattern="^a")],
            {"type": "string", "minLength": 1, "maxLength": 3, "pattern": "^a"},
            id="str",
        ),
        pytest.param(str | None, {"type": "string", "nullable": True}, id="optional"),
        pytest.param(Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, id="enum of texts"),
        pytest.param(Literal[4, 6], {"type": "integer", "enum": [4, 6]}, id="enum of numbers"),
        pytest.param(Literal[4, 6] | None, {"type": "integer", "enum": [4, 6]}, id="optional enum is not nullable"),
        pytest.param(
            Annotated[list[int], Meta(min_length=1, max_length=2)],
            {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
            id="list",
        ),
        pytest.param(
            Annotated[dict[str, bool], Meta(max_length=2)],
            {"type": "object", "additionalProperties": {"type": "boolean"}, "maxProperties": 2},
            id="map",
        ),
        pytest.param(
            Annotated[list[Leaf], keyed_by("macPrefix")],
            {
                "type": "array",
                "items": LEAF,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["macPrefix"],
            },
            id="keyed list",
        ),
        pytest.param(Leaf, LEAF, id="struct"),
    ],
)
def test_type_becomes_a_structural_schema(type_: object, schema: dict[str, object]) -> None:
    """Types are written inline, with the constraints of their annotations."""
    assert schema == structural(type_, defaults=False)


def test_defaults_are_written_where_they_say_something() -> None:
    """False, 0 and text are written; "absent" (empty text, list, map) is not; a part shows the defaults inside it."""
    schema = structural(Holder, defaults=True)

    assert schema["properties"] == {
        "inner": {
            "type": "object",
            "description": "All its fields have defaults.",
            "properties": {
                "mode": {"type": "string", "default": "auto"},
                "names": {"type": "array", "items": {"type": "string"}},
            },
            "default": {"mode": "auto"},
        },
        "flag": {"type": "boolean", "default": False},
        "note": {"type": "string"},
        "families": {"type": "array", "items": {"type": "string"}, "default": ["ipv4"]},
    }


@pytest.mark.parametrize("type_", [int | str, object, tuple[int, ...], bytes], ids=str)
def test_what_a_structural_schema_cannot_say_is_refused(type_: object) -> None:
    """An ``anyOf`` or an unknown type is a programming error, found when the files are made."""
    with pytest.raises(TypeError):
        structural(type_, defaults=False)


def test_a_part_may_not_have_other_defaults_than_its_type() -> None:
    """The server fills a part that is given partly from its type's defaults, so others would be a contradiction."""

    class Contradiction(Struct):
        """Wants another mode than the type."""

        inner: Defaulted = Defaulted(mode="other")

    with pytest.raises(TypeError, match="inner"):
        structural(Contradiction, defaults=True)


def test_chart_holds_what_the_types_say(tmp_path: Path) -> None:
    """The chart's files are those that ``python -m underlay.core.api.crds`` writes, no more and no fewer."""
    main([str(tmp_path)])

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        file.name: file.read_text() for file in CRDS.iterdir()
    }


def test_names_scopes_and_subresources() -> None:
    """Spiderpool's kinds keep its plural, scope, short name and status subresource (Spiderpool 1.2.1 CRDs)."""
    assert {
        (item.kind, item.plural, item.scope, item.short_name, item.status_subresource) for item in definitions()
    } == {
        ("SpiderIPPool", "spiderippools", "Cluster", "sp", True),
        ("SpiderSubnet", "spidersubnets", "Cluster", "ss", True),
        ("SpiderEndpoint", "spiderendpoints", "Namespaced", "se", False),
        ("SpiderReservedIP", "spiderreservedips", "Cluster", "sr", False),
        ("SpiderMultusConfig", "spidermultusconfigs", "Namespaced", "smc", False),
        ("SpiderCoordinator", "spidercoordinators", "Cluster", "scc", True),
        ("SpiderNetworkProvider", "spidernetworkproviders", "Cluster", "snp", True),
        ("SpiderNodeNetwork", "spidernodenetworks", "Cluster", "snn", True),
        ("SpiderIPBlock", "spideripblocks", "Cluster", "sib", False),
    }


SPIDERPOOL_DEFAULTS = {
    "SpiderIPPool": {"spec.default": False, "spec.disable": False},
    "SpiderSubnet": {},
    "SpiderEndpoint": {"status.current.ips.vlan": 0},
    "SpiderReservedIP": {},
    "SpiderCoordinator": {
        "spec.mode": "auto",
        "spec.tunePodRoutes": True,
        "spec.hostRuleTable": 500,
        "spec.podRPFilter": 0,
        "spec.txQueueLen": 0,
    },
    "SpiderMultusConfig": {
        "spec.cniType": "custom",
        "spec.enableCoordinator": True,
        "spec.disableIPAM": False,
        "spec.coordinator.mode": "auto",
        "spec.coordinator.tunePodRoutes": True,
        "spec.coordinator.hostRuleTable": 500,
        "spec.coordinator.podRPFilter": 0,
        "spec.coordinator.txQueueLen": 0,
        "spec.macvlan.mtu": 0,
        "spec.ipvlan.mtu": 0,
        "spec.vlan.mtu": 0,
        "spec.vlan.vlanMode": "manual",
        "spec.sriov.mtu": 0,
        "spec.sriov.rdmaIsolation": False,
        "spec.ibsriov.linkState": "enable",
        "spec.ibsriov.rdmaIsolation": True,
        "spec.ibsriov.enableIbKubernetes": False,
    }
    | {
        f"spec.{section}.ippools.matchMasterSubnet": False
        for section in ("macvlan", "ipvlan", "vlan", "sriov", "ibsriov", "ipoib", "ovs")
    },
}


@pytest.mark.parametrize("kind", SPIDERPOOL_DEFAULTS)
def test_spiderpools_kinds_have_its_defaults_and_no_others(kind: str) -> None:
    """The defaults in the schema are those of Spiderpool 1.2.1's CRDs."""
    definition = next(item for item in definitions() if item.kind == kind)

    assert SPIDERPOOL_DEFAULTS[kind] == dict(_defaults(openapi(definition), ""))


def _defaults(schema: object, path: str) -> list[tuple[str, object]]:
    """Every default below, by its path; what is inside a list has the list's path."""
    if not isinstance(schema, dict):
        return []
    found = [(path, schema["default"])] if "default" in schema else []
    for name, inner in schema.get("properties", {}).items():
        found += _defaults(inner, f"{path}.{name}".lstrip("."))
    return found + _defaults(schema.get("items"), path)


def test_allocations_have_spiderpools_encoding() -> None:
    """``status.allocatedIPs`` is JSON as text, sorted by address as text, and absent rather than ``{}``."""
    allocations = {
        "10.0.0.9": PoolAllocation(pod="default/b", pod_uid="u2"),
        "10.0.0.10": PoolAllocation(pod="default/a", pod_uid="u1"),
    }

    text = render_allocations(allocations)

    assert text == '{"10.0.0.10":{"pod":"default/a","podUid":"u1"},"10.0.0.9":{"pod":"default/b","podUid":"u2"}}'
    assert parse_allocations(text) == allocations
    assert render_allocations({}) is None
    assert parse_allocations(None) == {}


def test_shares_have_spiderpools_encoding() -> None:
    """``status.controlledIPPools`` names an application only for automatic pools."""
    shares = {
        "hand": PoolShare(ips=["10.0.0.1-10.0.0.9"]),
        "auto": PoolShare(ips=["10.0.0.10"], application="apps_v1_Deployment_default_web"),
    }

    text = render_shares(shares)

    assert text == (
        '{"auto":{"ips":["10.0.0.10"],"application":"apps_v1_Deployment_default_web"},"hand":{"ips":["10.0.0.1-10.0.0.9"]}}'
    )
    assert parse_shares(text) == shares
    assert render_shares({}) is None
    assert parse_shares(None) == {}


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.1.2.3", "10.1.2.0"),
        ("10.1.2.64", "10.1.2.64"),
        ("10.1.2.255", "10.1.2.192"),
        ("2001:db8::7f", "2001-db8-0-0-0-0-0-40"),
    ],
)
def test_block_is_named_by_its_window(address: str, name: str) -> None:
    """The name is the window's first address, in letters an object's name may have."""
    assert name == block_name(parse_address(address, "address"))


def test_block_counts_its_entries() -> None:
    """``held`` and ``cooling`` are what a person sees in the columns; together they are all entries."""
    address = parse_address("10.1.2.3", "address")
    held = BlockEntry(pod="a/b", uid="u", container="c", interface="eth0", node="n", since="2026-01-01T00:00:00Z")
    cooling = msgspec.structs.replace(held, cooling_since="2026-01-01T00:01:00Z")

    made = block(address, {"10.1.2.3": held, "10.1.2.4": cooling, "10.1.2.5": cooling})

    assert made.spec.window == str(window(address))
    assert (made.status.held, made.status.cooling) == (1, 2)
