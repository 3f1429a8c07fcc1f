"""docs/cloudsim.md lists what there is: nothing more, nothing less."""

import re
from typing import cast

import aiohttp

from cloudsim.__main__ import _parser
from cloudsim.server import app
from cloudsim.server.faults import FaultKind
from cloudsim.server.sts import OPERATIONS as OF_STS
from cloudsim.wire.operations import READS, WRITES
from support.documents import code, section, table

PAGE = "cloudsim.md"


def test_every_option_is_told() -> None:
    """The options of ``python -m cloudsim``, with their defaults."""
    told = {code(row["option"])[0].split()[0]: row["default"] for row in table(section(PAGE, "Run it alone"), "option")}
    have = {action.option_strings[-1]: action.default for action in _parser()._actions if action.dest != "help"}

    assert told.keys() == have.keys()
    for option, default in have.items():
        if default not in (None, "", False):
            assert str(default).removesuffix(".0") in told[option], option


def test_every_operation_is_told() -> None:
    """The actions of EC2 and of STS."""
    (line,) = [line for line in section(PAGE, "Run it alone").splitlines() if line.startswith("Operations: ")]

    assert [name for name in code(line) if name[0].isupper()][: len(READS) + len(WRITES)] == sorted(
        {*READS, *WRITES}, key=str.lower
    )
    assert set(code(section(PAGE, "Roles and temporary keys"))) >= OF_STS


def test_every_request_of_the_control_api_is_told() -> None:
    """Method and path."""
    told: set[tuple[str, str]] = set()
    for row in table(section(PAGE, "Control API"), "request"):
        *methods, last = code(row["request"])
        method, path = last.split(maxsplit=1)
        told |= {(each, re.sub(r"<[^>]+>", "{}", path)) for each in (*methods, method)}
    application = app._application(app._state(app.Settings(), cast("aiohttp.ClientSession", None)))
    have = {
        (route.method, re.sub(r"{[^}]+}", "{}", route.resource.canonical))
        for route in application.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }

    assert told == {(method, path) for method, path in have if path.startswith("/_sim/")}


def test_every_kind_of_fault_is_told() -> None:
    """By name."""
    assert [code(row["kind"])[0] for row in table(section(PAGE, "Control API"), "kind")] == [
        str(kind) for kind in FaultKind
    ]
