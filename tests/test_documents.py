"""The documentation lists what there is: metrics, fields, reasons, pages."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Metric

from support.documents import DOCS, code, section, table
from underlay.cni.metrics import Metrics as OfAgent
from underlay.core.api.networkprovider import SpiderNetworkProviderSpec
from underlay.core.api.nodenetwork import Demand
from underlay.core.cloud import errors
from underlay.core.errors import InvalidInput, UnderlayError
from underlay.operator.metrics import Metrics as OfOperator
from underlay.operator.metrics import SubnetState
from underlay.operator.reconcile.advice import SecretUnreadable, advise
from underlay.operator.reconcile.status import LIMIT_REACHED

Told = Mapping[str, tuple[str, frozenset[str]]]
"""Name → type and labels."""


def _operator() -> CollectorRegistry:
    metrics = OfOperator()
    metrics.follow(
        levels=lambda: {"a": 0},
        demands=lambda: [Demand(pods=0, cooling=0, target=0, usable=0)],
        subnets=lambda: [SubnetState("a", "subnet-a", 1, 0)],
    )
    return metrics.registry


def _shown(registry: CollectorRegistry) -> Told:
    families = [family for family in registry.collect() if family.name.startswith("underlay_")]
    return {
        family.name + ("_total" if family.type == "counter" else ""): (family.type, _labels(registry, family))
        for family in families
    }


def _labels(registry: CollectorRegistry, family: Metric) -> frozenset[str]:
    """As declared, or as a sample has them."""
    declared: Iterable[str] = ()
    for collector in registry._collector_to_names:
        if family in getattr(collector, "describe", list)():
            declared = getattr(collector, "_labelnames", ())
    return frozenset(declared) | frozenset(chain.from_iterable(sample.labels for sample in family.samples)) - {"le"}


def _told(process: str) -> Told:
    rows = table(section("metrics.md", process), "name")
    return {code(row["name"])[0]: (row["type"], frozenset(code(row["labels"]))) for row in rows}


@pytest.mark.parametrize(
    ("process", "registry"),
    [pytest.param("Operator", _operator(), id="operator"), pytest.param("Agent", OfAgent().registry, id="agent")],
)
def test_every_metric_is_told(process: str, registry: CollectorRegistry) -> None:
    """Names, types and labels: none is missing, none is invented."""
    assert _told(process) == _shown(registry)


def test_every_state_of_addresses_is_told() -> None:
    """The values of the label ``state``."""
    (family,) = [item for item in _operator().collect() if item.name == "underlay_node_addresses"]
    states = {sample.labels["state"] for sample in family.samples}
    (line,) = [line for line in section("metrics.md", "Operator").splitlines() if line.startswith("`state` of")]

    assert states <= set(code(line))


def _fields(type_: type, prefix: str = "") -> Iterator[str]:
    """The leaves of a Struct by their dotted names; a selector and a reference are leaves."""
    for field in msgspec.structs.fields(type_):
        name = f"{prefix}{field.encode_name}"
        inner = [item for item in getattr(field.type, "__args__", (field.type,)) if hasattr(item, "__struct_fields__")]
        if inner and name not in {"nodeSelector", "credentialsSecretRef", "subnets.reservations"}:
            yield from _fields(inner[0], f"{name}.")
        else:
            yield name


def test_every_field_of_a_provider_is_told() -> None:
    """Those that this version serves; ``.name`` in the table stands beside one of the same parent."""
    told: set[str] = set()
    for row in table(section("providers.md", "Fields"), "field"):
        parent = ""
        for name in code(row["field"]):
            full = f"{parent}{name}" if name.startswith(".") else name
            parent = full.rpartition(".")[0]
            told.add(full)
    unserved = {"scheduling.mode", "scheduling.resource", "network.attachment"}

    assert told == set(_fields(SpiderNetworkProviderSpec)) - unserved


def test_every_reason_is_told() -> None:
    """Whatever a cloud's refusal or a wrong field becomes in a condition or an Event, and what a full node says."""
    told = {
        name
        for row in table(section("providers.md", "When something is wrong"), "reason")
        for name in code(row["reason"])
    }

    assert told >= {advise(error).reason for error in _errors()} | {LIMIT_REACHED}


def _errors() -> Iterator[UnderlayError]:
    yield InvalidInput("field", found="x", expected="y")
    yield SecretUnreadable("default/name", "it is gone")
    for type_ in errors.CloudError.__subclasses__():
        error = type_(provider="aws", operation="X", code="Y", message="z")
        yield error
        if isinstance(error, errors.Denied):
            error.permission = "ec2:X"
            yield error
        if isinstance(error, errors.LimitReached):
            for what in ("interface", "instance", "account"):
                error.what = what
                yield error


def test_every_page_is_in_the_index_and_every_link_leads_somewhere() -> None:
    """README.md is the index; links between pages name files, and headings of them, that exist."""
    readme = DOCS.parent / "README.md"
    pages = {page.name: page for page in DOCS.glob("*.md")}
    index = set(re.findall(r"\(docs/([^)#]+)\)", readme.read_text(encoding="utf-8")))

    assert index == pages.keys()
    for page in (readme, *pages.values()):
        for target, _, heading in _links(page.read_text(encoding="utf-8")):
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name}: {target}"
            if heading:
                assert heading in _anchors(file.read_text(encoding="utf-8")), f"{page.name}: {target}#{heading}"


def _links(text: str) -> Iterator[tuple[str, str, str]]:
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if not link.startswith("http"):
            yield link.partition("#")


def _anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
