"""What the API server makes of our kinds: refusals at apply, one part per field manager, columns."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest

from support.raw_api import KINDS, MINIMAL, Json, RawApi, connect
from underlay.core.api.meta import Condition
from underlay.core.api.networkprovider import SpiderNetworkProviderSpec
from underlay.core.api.nodenetwork import (
    AGENT_MANAGER,
    OPERATOR_MANAGER,
    AgentStatus,
    InterfaceStatus,
    Link,
    OperatorStatus,
    Release,
    Released,
    SpiderNodeNetwork,
    SpiderNodeNetworkStatus,
)

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

PROVIDER: Json = {"driver": "aws", "region": "eu-central-1"}
ROLE = "arn:aws:iam::123456789012:role/underlay"
EITHER = "either by ids or by tags, not both"
URL = "spec.endpoint: must be an http or https URL with a host, for example https://ec2.example.com"
RESOURCE = "spec.scheduling.resource: mode resource needs the extended resource's name with a domain"
OPERATORS = "spec.nodeSelector.matchExpressions: each operator must be In or NotIn with values, Exists or DoesNotExist"


@pytest.fixture(scope="module")
def api(apiserver: "ApiServer") -> Iterator[RawApi]:
    """One connection for the module."""
    with connect(apiserver.plane) as raw:
        yield raw


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"driver": ""}, "spec.driver in body should be at least 1 chars long"),
        ({"region": ""}, "spec.region: driver aws needs the region its nodes run in, for example eu-central-1"),
        ({"subnets": {"ids": ["a"], "tags": {"b": "c"}}}, f"spec.subnets: name the subnets {EITHER}"),
        (
            {"securityGroups": {"ids": ["a"], "tags": {"b": "c"}}},
            f"spec.securityGroups: name the security groups {EITHER}",
        ),
        ({"subnets": {"policy": "fast"}}, 'supported values: "mostFree", "ordered", "spread"'),
        ({"addresses": {"batch": 0}}, "spec.addresses.batch in body should be greater than or equal to 1"),
        ({"addresses": {"batch": 257}}, "spec.addresses.batch in body should be less than or equal to 256"),
        ({"addresses": {"batch": 1.5}}, 'spec.addresses.batch in body must be of type integer: "number"'),
        ({"addresses": {"buffer": -0.5}}, "spec.addresses.buffer in body should be greater than or equal to 0"),
        ({"addresses": {"buffer": 10.5}}, "spec.addresses.buffer in body should be less than or equal to 10"),
        ({"addresses": {"minimum": -1}}, "spec.addresses.minimum in body should be greater than or equal to 0"),
        (
            {"addresses": {"cooldownSeconds": -1}},
            "spec.addresses.cooldownSeconds in body should be greater than or equal to 0",
        ),
        ({"addresses": {"families": []}}, "spec.addresses.families in body should have at least 1 items"),
        (
            {"addresses": {"families": ["ipv4", "ipv4"]}},
            "spec.addresses.families: must name each family once: ipv4, ipv6 or both",
        ),
        ({"addresses": {"families": ["IPv4"]}}, 'supported values: "ipv4", "ipv6"'),
        ({"addresses": {"mode": "fast"}}, 'supported values: "auto", "prefix", "secondaryIP"'),
        ({"interfaces": {"max": -1}}, "spec.interfaces.max in body should be greater than or equal to 0"),
        (
            {"interfaces": {"max": 2, "reserved": 2}},
            "spec.interfaces.reserved: must be less than max, or no interface is left for pods",
        ),
        ({"endpoint": "ec2.example.com"}, URL),
        ({"endpoint": "ftp://a"}, URL),
        ({"endpoint": "https://"}, URL),
        ({"assumeRole": {"role": "underlay"}}, "spec.assumeRole.role: driver aws needs the role's ARN"),
        ({"assumeRole": {"externalID": "x"}}, "spec.assumeRole.role: Required value"),
        (
            {"assumeRole": {"role": ROLE, "endpoint": "sts.example.com"}},
            "spec.assumeRole.endpoint: must be an http or https URL with a host",
        ),
        ({"scheduling": {"mode": "resource"}}, RESOURCE),
        ({"scheduling": {"mode": "resource", "resource": "addresses"}}, RESOURCE),
        ({"credentialsSecretRef": {"name": "a"}}, "spec.credentialsSecretRef.namespace: Required value"),
        (
            {"credentialsSecretRef": {"name": "", "namespace": "b"}},
            "spec.credentialsSecretRef.name in body should be at least 1 chars long",
        ),
        ({"nodeSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, OPERATORS),
        ({"nodeSelector": {"matchExpressions": [{"key": "a", "operator": "Is", "values": ["b"]}]}}, OPERATORS),
    ],
    ids=str,
)
def test_a_provider_that_cannot_work_is_refused(change: Json, said: str, api: RawApi) -> None:
    """The refusal names the field and says what was expected."""
    answer = api.create("SpiderNetworkProvider", "refused", {"spec": PROVIDER | change})

    assert answer.status_code == 422
    message = str(msgspec.json.decode(answer.content, type=Json)["message"])
    assert said in message.replace('Invalid value: "object": ', "").replace('Invalid value: "array": ', "")


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:8080", "https://ec2.example.com/path"])
def test_a_provider_that_can_work_is_accepted(endpoint: str, api: RawApi) -> None:
    """The rules refuse nothing that is right: private endpoints, resource scheduling, no limit with some reserved."""
    spec = PROVIDER | {
        "endpoint": endpoint,
        "assumeRole": {"role": ROLE, "externalID": "tenant-1", "endpoint": endpoint},
        "subnets": {"tags": {"a": "b"}},
        "interfaces": {"reserved": 1},
        "addresses": {"families": ["ipv4", "ipv6"], "batch": 256, "buffer": 10},
        "scheduling": {"mode": "resource", "resource": "example.com/addresses"},
        "nodeSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
    }

    answer = api.create("SpiderNetworkProvider", f"a-{uuid4().hex}", {"spec": spec})

    assert answer.status_code == 201, answer.text
    assert msgspec.convert(spec, SpiderNetworkProviderSpec).endpoint == endpoint


def _condition(type_: str) -> Condition:
    return Condition(type=type_, status="True", reason="Fine", message="", last_transition_time="2026-01-01T00:00:00Z")


def _interface(id_: str) -> InterfaceStatus:
    return InterfaceStatus(
        id=id_,
        mac="02:00:00:00:00:01",
        device_index=0,
        primary=True,
        state="in-use",
        subnet="s",
        addresses=["10.0.0.5"],
    )


def test_operator_and_agent_apply_their_own_parts(api: RawApi) -> None:
    """Each manager's apply replaces what it said before, and nothing of the other's, down to single list items."""
    name = f"node-{uuid4().hex}"
    link = Link(mac="02:00:00:00:00:01", name="eth0", mtu=9001, state="up")

    def apply(manager: str, part: OperatorStatus | AgentStatus) -> SpiderNodeNetworkStatus:
        body = {"status": msgspec.to_builtins(part)}
        stored = api.apply("SpiderNodeNetwork", name, body, manager=manager, status=True)
        status = msgspec.json.decode(stored, type=SpiderNodeNetwork).status
        assert status is not None
        return status

    api.apply("SpiderNodeNetwork", name, MINIMAL["SpiderNodeNetwork"], manager=OPERATOR_MANAGER)
    apply(
        OPERATOR_MANAGER,
        OperatorStatus(interfaces=[_interface("eni-1"), _interface("eni-2")], conditions=[_condition("SufficientIP")]),
    )
    both = apply(
        AGENT_MANAGER,
        AgentStatus(
            journal_epoch="e",
            links=[link],
            released=[Released(id="r1", fenced=["10.0.0.5"])],
            conditions=[_condition("HostClean")],
        ),
    )
    shrunk = apply(
        OPERATOR_MANAGER, OperatorStatus(interfaces=[_interface("eni-2")], conditions=[_condition("SufficientIP")])
    )
    last = apply(AGENT_MANAGER, AgentStatus(journal_epoch="e", links=[link]))

    assert [item.id for item in both.interfaces] == ["eni-1", "eni-2"]
    assert {item.type for item in both.conditions} == {"SufficientIP", "HostClean"}
    assert [item.id for item in shrunk.interfaces] == ["eni-2"]
    assert (shrunk.links, [item.id for item in shrunk.released]) == ([link], ["r1"])
    assert (last.released, [item.type for item in last.conditions]) == ([], ["SufficientIP"])
    assert [item.id for item in last.interfaces] == ["eni-2"]


def test_releases_are_applied_one_by_one(api: RawApi) -> None:
    """Two writers of ``spec.release`` with different ids do not take away each other's."""
    name = f"node-{uuid4().hex}"
    api.apply("SpiderNodeNetwork", name, MINIMAL["SpiderNodeNetwork"], manager=OPERATOR_MANAGER)
    for id_ in ("a", "b"):
        release = msgspec.to_builtins(Release(id=id_, pool="p", pool_uid="u", addresses=["10.0.0.5"]))
        api.apply("SpiderNodeNetwork", name, {"spec": {"release": [release]}}, manager=f"writer-{id_}")

    stored = msgspec.json.decode(api.read("SpiderNodeNetwork", name), type=SpiderNodeNetwork)

    assert sorted(item.id for item in stored.spec.release) == ["a", "b"]


@pytest.mark.parametrize(
    ("short_name", "columns"),
    [
        ("sp", "VERSION SUBNET ALLOCATED-IP-COUNT TOTAL-IP-COUNT DEFAULT DISABLE NODENAME MULTUSNAME APP-NAMESPACE"),
        ("ss", "VERSION SUBNET ALLOCATED-IP-COUNT TOTAL-IP-COUNT"),
        ("se", "INTERFACE IPV4POOL IPV4 IPV6POOL IPV6 NODE"),
        ("sr", "VERSION"),
        ("smc", "AGE"),
        ("scc", "AGE"),
        ("snp", "DRIVER REGION MODE NODES PODS IDLE ROOM READY REASON AGE SUBNETS MESSAGE"),
        ("snn", "PROVIDER INSTANCE TYPE INTERFACES PODS TARGET USABLE ROOM SUFFICIENT REASON MESSAGE AGE"),
        ("sib", "WINDOW HELD COOLING AGE"),
    ],
)
def test_kubectl_shows_useful_columns(short_name: str, columns: str, api: RawApi, apiserver: "ApiServer") -> None:
    """``kubectl get -o wide`` by the short name; Spiderpool's kinds show Spiderpool's columns."""
    kind = next(definition.kind for definition in KINDS.values() if definition.short_name == short_name)
    assert api.create(kind, f"c-{uuid4().hex}", MINIMAL[kind]).status_code == 201

    shown = apiserver.plane.kubectl("get", short_name, "--output=wide")

    assert ["NAME", *columns.split()] == shown.splitlines()[0].split()
    assert kind in apiserver.plane.kubectl("get", "spiderpool", "--output=jsonpath={.items[*].kind}")


def test_every_kind_is_established_and_structural(apiserver: "ApiServer") -> None:
    """The server has nothing to say against any schema: no condition but the two good ones."""
    columns = "--output=jsonpath={range .items[*]}{.spec.names.kind}={.status.conditions[*].type}|{end}"

    shown = apiserver.plane.kubectl("get", "customresourcedefinitions", columns)

    found = dict(line.split("=") for line in shown.split("|") if line)
    assert dict.fromkeys(KINDS, "NamesAccepted Established") == {kind: found[kind] for kind in KINDS}
