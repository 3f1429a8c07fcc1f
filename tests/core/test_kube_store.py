"""The store and the error table: pure."""

import pytest

from underlay.core.api.kubernetes import Pod, PodSpec
from underlay.core.api.meta import ObjectMeta
from underlay.core.kube import errors
from underlay.core.kube.store import Store


def pod(name: str, node: str, namespace: str = "default") -> Pod:
    return Pod(metadata=ObjectMeta(name=name, namespace=namespace), spec=PodSpec(node_name=node))


def test_objects_are_found_by_name_and_by_index() -> None:
    """An index made before or after the objects finds them; moving and removing an object moves it in the index."""
    store: Store[Pod] = Store()
    store.index("node", lambda pod: [pod.spec.node_name])
    a, b = pod("a", "n1"), pod("b", "n1")
    store.put(a)
    store.put(b)
    store.index("letters", lambda pod: list(pod.metadata.name))
    moved = pod("a", "n2")
    old = store.put(moved)

    assert old == a
    assert [b] == list(store.by("node", "n1"))
    assert [moved] == list(store.by("node", "n2"))
    assert [moved] == list(store.by("letters", "a"))
    assert store.get("default", "a") == moved
    assert store.remove("default", "a") == moved
    assert store.get("default", "a") is None
    assert list(store.by("node", "n2")) == []
    assert len(store) == 1


def test_a_text_is_one_key_of_an_index() -> None:
    """An index function may return the key itself when it is a text: it is not taken apart into letters."""
    store: Store[Pod] = Store()
    store.index("node", lambda pod: pod.spec.node_name)
    store.put(pod("a", "n1"))

    assert len(store.by("node", "n1")) == 1
    assert len(store.by("node", "n")) == 0


def test_same_names_in_two_namespaces_are_two_objects() -> None:
    """Objects are kept by namespace and name; an unknown one changes nothing."""
    store: Store[Pod] = Store()
    store.put(pod("a", "n1", "one"))
    store.put(pod("a", "n1", "two"))

    assert len(store) == 2
    assert store.remove("three", "a") is None
    assert store.get(None, "a") is None


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (400, "BadRequest", errors.Invalid),
        (401, "Unauthorized", errors.Forbidden),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (405, "MethodNotAllowed", errors.KubeError),
        (409, "Conflict", errors.Conflict),
        (409, "AlreadyExists", errors.AlreadyExists),
        (410, "Expired", errors.Gone),
        (410, "Gone", errors.Gone),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.Unavailable),
        (500, "InternalError", errors.Unavailable),
        (503, "ServiceUnavailable", errors.Unavailable),
        (504, "Timeout", errors.Unavailable),
    ],
)
def test_answers_become_classes(code: int, reason: str, expected: type[errors.KubeError]) -> None:
    """Each status and reason of metav1.Status (apimachinery, StatusReason) becomes the class of what to do next."""
    error = errors.of_status(code, errors.Status(reason=reason, message="m"))

    assert expected is type(error)
    assert (code, reason, "m") == (error.status, error.reason, error.message)


def test_an_answer_that_is_no_status_is_quoted() -> None:
    """A proxy's HTML page still gives an error whose text shows it."""
    error = errors.of_response(502, b"<html>bad gateway</html>")

    assert isinstance(error, errors.Unavailable)
    assert "bad gateway" in str(error)


def test_only_a_request_turned_away_is_certainly_not_done() -> None:
    """After 429 a write has not happened; after 500 or 504 it may have."""
    done = {code: errors.of_status(code, errors.Status()) for code in (429, 500, 504)}

    assert {code: error.maybe_done for code, error in done.items() if isinstance(error, errors.Unavailable)} == {
        429: False,
        500: True,
        504: True,
    }
