"""Settings files, and the log lines they configure."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from underlay.core.errors import InvalidInput
from underlay.core.runtime.config import load


class Inner(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    retry_seconds: float = 2.0


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    node_name: str
    service_cidrs: list[str] = msgspec.field(default_factory=list, name="serviceCIDRs")
    add_wait_seconds: int = 20
    inner: Inner = Inner()
    parts: list[Inner] = []
    by_name: dict[str, Inner] = {}


class Defaults(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    level: str = "info"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.json", '{"nodeName": "n1", "serviceCIDRs": ["10.96.0.0/16"], "inner": {"retrySeconds": 5}}'),
        ("s.yaml", "nodeName: n1\nserviceCIDRs: [10.96.0.0/16]\ninner:\n  retrySeconds: 5\n"),
    ],
    ids=["json", "yaml"],
)
def test_a_file_becomes_a_value(tmp_path: Path, name: str, content: str) -> None:
    """JSON and YAML give the same value; what is absent has its default."""
    path = tmp_path / name
    path.write_text(content)
    expected = Settings(node_name="n1", service_cidrs=["10.96.0.0/16"], inner=Inner(retry_seconds=5))

    assert expected == load(Settings, path)


@pytest.mark.parametrize(
    ("content", "field", "found", "expected"),
    [
        ("{}", "nodeName", None, "a value (required)"),
        ('{"nodeName": 7}', "nodeName", 7, "str"),
        ('{"nodeName": "n", "inner": {"retrySeconds": "x"}}', "inner.retrySeconds", "x", "float"),
        ('{"nodeName": "n", "serviceCIDRs": ["a", 5]}', "serviceCIDRs[1]", 5, "str"),
        ('{"nodeName": "n", "parts": [{}, {"retrySeconds": null}]}', "parts[1].retrySeconds", None, "float"),
        ('{"nodeName": "n", "addWaitSecond": 3}', "addWaitSecond", "a key of this name", "one of addWaitSeconds"),
        ('{"nodeName": "n", "inner": {"retry": 3}}', "inner.retry", "a key of this name", "one of retrySeconds"),
        ('{"nodeName": "n", "parts": [{"x": 1}]}', "parts[0].x", "a key of this name", "one of retrySeconds"),
        ('{"nodeName": "n", "byName": {"k": {"x": 1}}}', "byName.k.x", "a key of this name", "one of retrySeconds"),
        ('["nodeName"]', "settings", ["nodeName"], "object"),
    ],
)
def test_an_error_names_field_found_and_expected(
    tmp_path: Path, content: str, field: str, found: object, expected: str
) -> None:
    """Whatever is wrong, the error has the path a person looks for, what is there, and what should be."""
    path = tmp_path / "settings.json"
    path.write_text(content)
    with pytest.raises(InvalidInput) as refused:
        load(Settings, path)

    assert (field, found) == (refused.value.field, refused.value.found)
    assert refused.value.expected.startswith(expected)
    assert field in str(refused.value)


@pytest.mark.parametrize("name", ["half.json", "half.yaml"])
def test_a_malformed_file_is_named(tmp_path: Path, name: str) -> None:
    """Syntax errors, and a file that cannot be read, name the file."""
    path = tmp_path / name
    path.write_text('{"nodeName": ')
    with pytest.raises(InvalidInput, match=name):
        load(Settings, path)
    with pytest.raises(InvalidInput, match="absent"):
        load(Settings, tmp_path / "absent.json")


def test_no_file_means_defaults(tmp_path: Path) -> None:
    """None, and an empty YAML file, give all defaults."""
    empty = tmp_path / "empty.yaml"
    empty.write_text("")

    assert Defaults() == load(Defaults, None)
    assert Defaults() == load(Defaults, empty)


def test_log_lines_are_json_whoever_writes_them() -> None:
    """Our lines and those of libraries have the same keys; libraries that log each request are quiet at info."""
    program = """
import logging, structlog
from ipaddress import ip_address
from underlay.core.runtime.logging import configure
configure("underlay-test", "info")
structlog.get_logger().info("address.allocated", address=ip_address("10.0.0.1"), pod="ns/p")
structlog.get_logger().debug("not.shown")
logging.getLogger("some.library").warning("it %s", "happened")
logging.getLogger("httpx2").info("GET /")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("task.failed")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert done.stdout == ""
    assert [(line["level"], line["event"], line["process"]) for line in lines] == [
        ("info", "address.allocated", "underlay-test"),
        ("warning", "it happened", "underlay-test"),
        ("error", "task.failed", "underlay-test"),
    ]
    assert lines[0]["address"] == "10.0.0.1"
    assert lines[1]["logger"] == "some.library"
    assert "ZeroDivisionError" in lines[2]["exception"]
    assert all(line["time"].endswith("Z") for line in lines)
