"""A node of the session's API server for each test that asks for one."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import ApiServer
    from support.node import NodeUnderTest

_numbers = count()


@pytest.fixture
async def node(apiserver: "ApiServer", tmp_path: Path) -> AsyncIterator["NodeUnderTest"]:
    from support.node import NodeUnderTest  # noqa: PLC0415 - the pure suites of this folder run without its imports

    async with apiserver.client("test-agent/1") as client:
        node = NodeUnderTest(f"agent-{next(_numbers)}", client, apiserver.kubeconfig, tmp_path)
        await node.create()
        yield node
        await node.stop()
        assert node.kernel.problems == []
