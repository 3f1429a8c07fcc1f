"""One site for each test, and the client with which its readings are made."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from support import leftovers, operator_site
from support.operator_site import Site
from underlay.core.kube.client import KubeClient
from world.api import Api

if TYPE_CHECKING:
    from conftest import ApiServer


@pytest.fixture
async def client(apiserver: "ApiServer") -> AsyncIterator[KubeClient]:
    """What tests and stand-ins read and write with."""
    async with apiserver.client("test-operator/1") as client:
        yield client
    leftovers.collect()


@pytest.fixture
async def api(apiserver: "ApiServer") -> AsyncIterator[Api]:
    """For readings that nothing of the product decodes."""
    api = Api.connect(apiserver.kubeconfig, user_agent="test-operator-raw/1")
    yield api
    await api.close()


@pytest.fixture
async def site(client: KubeClient) -> AsyncIterator[Site]:
    async with operator_site.opened(client) as site:
        yield site
