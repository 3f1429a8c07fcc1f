"""What Python writes, the API server stores, and Python reads back: one value. Against the real API server."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from support.raw_api import KINDS, MINIMAL, Json, RawApi, connect
from support.wire_values import values
from underlay.core.api.kinds import Definition
from underlay.core.api.meta import API_VERSION, ObjectMeta

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def api(apiserver: "ApiServer") -> Iterator[RawApi]:
    """One connection for the module."""
    with connect(apiserver.plane) as raw:
        yield raw


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "SpiderNetworkProvider"])
@many
@given(data=st.data())
def test_what_is_written_is_what_is_stored(kind: str, api: RawApi, data: st.DataObject) -> None:
    """Any value of the types is accepted, and comes back with nothing pruned, defaulted or changed."""
    _write_and_compare(api, kind, data.draw(_bodies(KINDS[kind])))


@many
@given(body=st.deferred(lambda: _bodies(KINDS["SpiderNetworkProvider"])))
def test_a_provider_that_obeys_the_rules_is_stored_as_written(body: dict[str, Any], api: RawApi) -> None:
    """The same for the kind with rules between fields: what the rules speak of is chosen so that they hold."""
    spec = body["spec"]
    spec |= {"region": "eu-central-1", "endpoint": "https://ec2.example.com"}
    if spec.get("assumeRole") is not None:
        role = "arn:aws:iam::123456789012:role/underlay"
        spec["assumeRole"] |= {"role": role, "endpoint": "https://sts.example.com"}
    spec["nodeSelector"]["matchExpressions"] = [{"key": "a", "operator": "In", "values": ["b"]}]
    spec["subnets"]["tags"] = {}
    spec["securityGroups"]["ids"] = []
    spec["interfaces"] |= {"max": 4, "reserved": 1}
    spec["addresses"]["families"] = ["ipv6", "ipv4"]
    spec["scheduling"]["resource"] = "example.com/addresses"

    _write_and_compare(api, "SpiderNetworkProvider", body)


@pytest.mark.parametrize("kind", KINDS)
def test_server_and_decoder_fill_in_the_same_defaults(kind: str, api: RawApi) -> None:
    """The shortest object that is accepted means the same whether the server or the decoder completes it."""
    name = f"m-{uuid4().hex}"

    answer = api.create(kind, name, MINIMAL[kind])

    assert answer.status_code == 201, answer.text
    assert _decoded(kind, _document(kind, name, MINIMAL[kind])) == _without_server_metadata(kind, name, answer.content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_misspelt_field_is_refused_by_name(kind: str, api: RawApi) -> None:
    """No kind keeps unknown fields, so strict validation (kubectl's default) finds a typing error."""
    top = next(iter(MINIMAL[kind]))
    misspelt = {**msgspec.convert(MINIMAL[kind][top], Json), "adresses": 1}

    answer = api.create(kind, "misspelt", {**MINIMAL[kind], top: misspelt})

    assert answer.status_code == 400
    assert f'unknown field "{top}.adresses"' in answer.text.replace("\\", "")


def _write_and_compare(api: RawApi, kind: str, body: Json) -> None:
    name = f"r-{uuid4().hex}"
    written = _decoded(kind, _document(kind, name, body))

    answer = api.create(kind, name, {part: msgspec.to_builtins(getattr(written, part)) for part in body})
    assert answer.status_code == 201, answer.text
    if KINDS[kind].status_subresource and body.get("status") is not None:
        current = msgspec.structs.replace(written, metadata=_decoded(kind, answer.content).metadata)
        answer = api.replace_status(kind, name, msgspec.json.encode(current))
        assert answer.status_code == 200, answer.text
    stored = api.read(kind, name)

    stored_body = msgspec.json.decode(stored, type=Json)
    assert _without_nulls(body) == _without_nulls({part: stored_body.get(part) for part in body})
    assert written == _without_server_metadata(kind, name, stored)


def _bodies(definition: Definition) -> st.SearchStrategy[Json]:
    """Everything of an object of the kind but its metadata."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(definition.type)}
    present: dict[str, st.SearchStrategy[object]] = {
        part: values(inspect.type_info(types[part])) for part in ("spec", "status") if part in types
    }
    return st.fixed_dictionaries(present)


def _document(kind: str, name: str, body: Json) -> bytes:
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, **body})


def _decoded(kind: str, document: bytes) -> Any:  # noqa: ANN401 - any of the kinds
    return msgspec.json.decode(document, type=KINDS[kind].type)


def _without_server_metadata(kind: str, name: str, document: bytes) -> object:
    return msgspec.structs.replace(_decoded(kind, document), metadata=ObjectMeta(name=name))


def _without_nulls(value: object) -> object:
    """Null says "not given" in every kind of ours; the server keeps some and drops others."""
    match value:
        case dict():
            return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
        case list():
            return [_without_nulls(inner) for inner in value]
        case _:
            return value
