"""A pytest plugin for the run in the guest: writes every report to standard output, one JSON text per line.

Each is framed as in RFC 7464 (a record separator, the text, a newline), so that they can be told from other output.
Reports leave the guest as they are made: what a killed guest had finished is known.
"""

import json
import os
from collections.abc import Generator

import pytest

SEPARATOR = "\x1e"


class Reporter:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._stdout = os.dup(1)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        content = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        os.write(self._stdout, f"\n{SEPARATOR}{json.dumps(content)}\n".encode())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Called before pytest's own hook of this name, which begins to capture standard output."""
    early_config.pluginmanager.register(Reporter(early_config), "lab-reporter")
    return (yield)


def parse(config: pytest.Config, line: str) -> pytest.TestReport | None:
    """The report in a line of the guest's output, if there is one."""
    if not line.startswith(SEPARATOR):
        return None
    content = json.loads(line[len(SEPARATOR) :])
    for field in ("location", "longrepr"):  # JSON has no tuples, and pytest tells a skip's reason by its type
        if isinstance(content[field], list):
            content[field] = tuple(content[field])
    found = config.hook.pytest_report_from_serializable(config=config, data=content)
    return found if isinstance(found, pytest.TestReport) else None
