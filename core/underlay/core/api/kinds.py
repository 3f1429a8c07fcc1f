"""Every kind of Underlay as a value: names, scope, columns, rules. Pure.

Spiderpool's kinds keep its names, scopes, short names and columns. Rules (CEL) catch at ``kubectl apply`` what a type
cannot say; they are written for our own kinds only, so that whatever Spiderpool accepts is accepted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from underlay.core.api.coordinator import SpiderCoordinator
from underlay.core.api.endpoint import SpiderEndpoint
from underlay.core.api.ipblock import SpiderIPBlock
from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.meta import GROUP
from underlay.core.api.multusconfig import SpiderMultusConfig
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.api.reservedip import SpiderReservedIP
from underlay.core.api.subnet import SpiderSubnet

ColumnType = Literal["string", "integer", "number", "boolean", "date"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of ``kubectl get``; ``wide``: only with ``-o wide``."""

    name: str
    path: str
    type: ColumnType = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A CEL rule over the object it is attached to; ``field`` is the path below it that an error is reported at."""

    rule: str
    message: str
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One kind.

    ``rules`` by path from the root (``spec.addresses``); ``defaulted`` names the parts whose types' defaults the server
    fills in.
    """

    type: type[msgspec.Struct]
    plural: str
    short_name: str
    scope: Literal["Cluster", "Namespaced"] = "Cluster"
    status_subresource: bool = True
    defaulted: frozenset[str] = frozenset({"spec"})
    columns: tuple[Column, ...] = ()
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``SpiderIPPool``."""
        return self.type.__name__

    @property
    def name(self) -> str:
        """``spiderippools.spiderpool.spidernet.io``."""
        return f"{self.plural}.{GROUP}"


AGE = Column(name="AGE", path=".metadata.creationTimestamp", type="date")


def definitions() -> tuple[Definition, ...]:
    """All kinds, Spiderpool's first."""
    return (
        _ippool(),
        _subnet(),
        _endpoint(),
        _reserved_ip(),
        Definition(
            type=SpiderMultusConfig,
            plural="spidermultusconfigs",
            short_name="smc",
            scope="Namespaced",
            status_subresource=False,
        ),
        Definition(type=SpiderCoordinator, plural="spidercoordinators", short_name="scc"),
        _network_provider(),
        _node_network(),
        _ip_block(),
    )


def _ippool() -> Definition:
    return Definition(
        type=SpiderIPPool,
        plural="spiderippools",
        short_name="sp",
        columns=(
            *_range_columns(),
            Column(name="DEFAULT", path=".spec.default", type="boolean"),
            Column(name="DISABLE", path=".spec.disable", type="boolean", wide=True),
            Column(name="NodeName", path=".spec.nodeName", wide=True),
            Column(name="MultusName", path=".spec.multusName", wide=True),
            Column(
                name="APP-NAMESPACE",
                path=r".spec.podAffinity.matchLabels['ipam\.spidernet\.io/app\-namespace']",
                wide=True,
            ),
        ),
    )


def _range_columns() -> tuple[Column, ...]:
    return (
        Column(name="VERSION", path=".spec.ipVersion"),
        Column(name="SUBNET", path=".spec.subnet"),
        Column(name="ALLOCATED-IP-COUNT", path=".status.allocatedIPCount", type="integer"),
        Column(name="TOTAL-IP-COUNT", path=".status.totalIPCount", type="integer"),
    )


def _subnet() -> Definition:
    return Definition(type=SpiderSubnet, plural="spidersubnets", short_name="ss", columns=_range_columns())


def _endpoint() -> Definition:
    first = ".status.current.ips[0]"
    return Definition(
        type=SpiderEndpoint,
        plural="spiderendpoints",
        short_name="se",
        scope="Namespaced",
        status_subresource=False,
        defaulted=frozenset({"status"}),
        columns=(
            Column(name="INTERFACE", path=f"{first}.interface"),
            Column(name="IPV4POOL", path=f"{first}.ipv4Pool"),
            Column(name="IPV4", path=f"{first}.ipv4"),
            Column(name="IPV6POOL", path=f"{first}.ipv6Pool"),
            Column(name="IPV6", path=f"{first}.ipv6"),
            Column(name="NODE", path=".status.current.node"),
        ),
    )


def _reserved_ip() -> Definition:
    return Definition(
        type=SpiderReservedIP,
        plural="spiderreservedips",
        short_name="sr",
        status_subresource=False,
        columns=(Column(name="VERSION", path=".spec.ipVersion"),),
    )


def _network_provider() -> Definition:
    ready = '.status.conditions[?(@.type=="Ready")]'
    return Definition(
        type=SpiderNetworkProvider,
        plural="spidernetworkproviders",
        short_name="snp",
        columns=(
            Column(name="DRIVER", path=".spec.driver"),
            Column(name="REGION", path=".spec.region"),
            Column(name="MODE", path=".spec.addresses.mode"),
            Column(name="NODES", path=".status.nodes", type="integer"),
            Column(name="PODS", path=".status.pods", type="integer"),
            Column(name="IDLE", path=".status.idle", type="integer"),
            Column(name="ROOM", path=".status.room", type="integer"),
            Column(name="READY", path=f"{ready}.status"),
            Column(name="REASON", path=f"{ready}.reason"),
            AGE,
            Column(name="SUBNETS", path=".status.supply", wide=True),
            Column(name="MESSAGE", path=f"{ready}.message", wide=True),
        ),
        rules={
            "spec": (
                Rule(
                    rule="self.driver != 'aws' || (has(self.region) && self.region != '')",
                    message="driver aws needs the region its nodes run in, for example eu-central-1",
                    field=".region",
                ),
                _web_address("endpoint", "https://ec2.example.com"),
                Rule(
                    rule="self.driver != 'aws' || !has(self.assumeRole) || "
                    "self.assumeRole.role.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$')",
                    message="driver aws needs the role's ARN, for example arn:aws:iam::123456789012:role/underlay",
                    field=".assumeRole.role",
                ),
            ),
            "spec.assumeRole": (_web_address("endpoint", "https://sts.example.com"),),
            "spec.nodeSelector": (
                Rule(
                    rule="!has(self.matchExpressions) || self.matchExpressions.all(e, "
                    "e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : "
                    "e.operator in ['Exists', 'DoesNotExist'])",
                    message="each operator must be In or NotIn with values, Exists or DoesNotExist",
                    field=".matchExpressions",
                ),
            ),
            "spec.subnets": (_ids_or_tags("subnets"),),
            "spec.securityGroups": (_ids_or_tags("security groups"),),
            "spec.interfaces": (
                Rule(
                    rule="self.max == 0 || self.reserved < self.max",
                    message="must be less than max, or no interface is left for pods",
                    field=".reserved",
                ),
            ),
            "spec.addresses.families": (
                Rule(
                    rule="self.all(family, self.exists_one(other, other == family))",
                    message="must name each family once: ipv4, ipv6 or both",
                ),
            ),
            "spec.scheduling": (
                Rule(
                    rule="self.mode != 'resource' || (has(self.resource) && "
                    "self.resource.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",
                    message="mode resource needs the extended resource's name with a domain: example.com/addresses",
                    field=".resource",
                ),
            ),
        },
    )


def _web_address(field: str, example: str) -> Rule:
    value = f"self.{field}"
    return Rule(
        rule=f"!has({value}) || {value} == '' || (isURL({value}) && "
        f"url({value}).getScheme() in ['http', 'https'] && url({value}).getHost() != '')",
        message=f"must be an http or https URL with a host, for example {example}",
        field=f".{field}",
    )


def _ids_or_tags(things: str) -> Rule:
    return Rule(
        rule="!(has(self.ids) && size(self.ids) > 0 && has(self.tags) && size(self.tags) > 0)",
        message=f"name the {things} either by ids or by tags, not both",
    )


def _node_network() -> Definition:
    return Definition(
        type=SpiderNodeNetwork,
        plural="spidernodenetworks",
        short_name="snn",
        columns=(
            Column(name="PROVIDER", path=".spec.provider"),
            Column(name="INSTANCE", path=".status.instance.id"),
            Column(name="TYPE", path=".status.instance.type"),
            Column(name="INTERFACES", path=".status.limits.interfaces", type="integer"),
            Column(name="PODS", path=".status.demand.pods", type="integer"),
            Column(name="TARGET", path=".status.demand.target", type="integer"),
            Column(name="USABLE", path=".status.demand.usable", type="integer"),
            Column(name="ROOM", path=".status.demand.room", type="integer"),
            Column(name="SUFFICIENT", path='.status.conditions[?(@.type=="SufficientIP")].status'),
            Column(name="REASON", path='.status.conditions[?(@.type=="SufficientIP")].reason'),
            Column(name="MESSAGE", path='.status.conditions[?(@.type=="SufficientIP")].message', wide=True),
            AGE,
        ),
    )


def _ip_block() -> Definition:
    return Definition(
        type=SpiderIPBlock,
        plural="spideripblocks",
        short_name="sib",
        status_subresource=False,
        columns=(
            Column(name="WINDOW", path=".spec.window"),
            Column(name="HELD", path=".status.held", type="integer"),
            Column(name="COOLING", path=".status.cooling", type="integer"),
            AGE,
        ),
    )
