"""Reading the audit log."""

from pathlib import Path

from controlplane import audit

# Shapes as in the audit.k8s.io/v1 reference (Event).
GET = (
    '{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete",'
    '"requestURI":"/api/v1/pods/x","verb":"get","user":{"username":"u"},"userAgent":"underlay-agent/0.1 (linux)",'
    '"objectRef":{"resource":"pods","namespace":"n","name":"x","apiVersion":"v1"},"responseStatus":{"code":200}}'
)
STATUS = GET.replace('"get"', '"patch"').replace('"name":"x",', '"name":"x","subresource":"status",')
WATCH = GET.replace('"get"', '"watch"')


def test_requests_are_counted_by_agent_verb_and_resource(tmp_path: Path) -> None:
    """A watch, which stands there twice, counts once; a line still being written does not count."""
    log = tmp_path / "audit.log"
    watch_begins = WATCH.replace("ResponseComplete", "ResponseStarted")
    log.write_text("\n".join([GET, GET, STATUS, watch_begins, WATCH, GET[:40]]))

    assert audit.count(log) == {
        audit.Request("underlay-agent", "get", "pods", 200): 2,
        audit.Request("underlay-agent", "patch", "pods/status", 200): 1,
        audit.Request("underlay-agent", "watch", "pods", 200): 1,
    }


def test_counting_begins_where_told(tmp_path: Path) -> None:
    """What stood in the log before ``offset`` is left out."""
    log = tmp_path / "audit.log"
    log.write_text(f"{GET}\n")
    offset = log.stat().st_size
    with log.open("a") as more:
        more.write(f"{STATUS}\n")

    assert audit.count(log, offset=offset) == {audit.Request("underlay-agent", "patch", "pods/status", 200): 1}
