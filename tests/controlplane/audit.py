"""The API server's audit log, read as counts of requests."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

# Probes are left out: they say nothing about what clients do.
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version"]},
        {"level": "Metadata"},
    ],
}


class ObjectRef(msgspec.Struct, frozen=True, kw_only=True):
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class ResponseStatus(msgspec.Struct, frozen=True, kw_only=True):
    code: int = 0


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One request at one stage; a watch has two (ResponseStarted, ResponseComplete), all else one."""

    stage: str
    verb: str
    user_agent: str = ""
    object_ref: ObjectRef = ObjectRef()
    response_status: ResponseStatus = ResponseStatus()
    stage_timestamp: str = ""


class Request(NamedTuple):
    user_agent: str  # without version: what stands before the first "/"
    verb: str
    resource: str  # with its subresource: "pods/status"
    code: int


def events(log: Path, *, offset: int = 0) -> Iterator[AuditEvent]:
    """From byte ``offset`` on: the log's size, noted before something happens, is where its requests begin."""
    decoder = msgspec.json.Decoder(AuditEvent)
    with log.open("rb") as lines:
        lines.seek(offset)
        for line in lines:
            if line.endswith(b"\n"):  # the last one may still be on its way
                yield decoder.decode(line)


def count(log: Path, *, offset: int = 0) -> Counter[Request]:
    """Requests by who made them and what they asked for; a watch counts when it begins."""
    counts: Counter[Request] = Counter()
    for event in events(log, offset=offset):
        if event.verb == "watch" and event.stage != "ResponseStarted":
            continue
        ref = event.object_ref
        resource = f"{ref.resource}/{ref.subresource}" if ref.subresource else ref.resource
        agent = event.user_agent.partition("/")[0]
        counts[Request(agent, event.verb, resource, event.response_status.code)] += 1
    return counts
