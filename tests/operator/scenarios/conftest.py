"""What the stories of whole fleets share."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from world.api import Api

if TYPE_CHECKING:
    from conftest import ApiServer


@pytest.fixture
async def api(swept: "ApiServer") -> AsyncIterator[Api]:
    """For readings that nothing of the product decodes."""
    api = Api.connect(swept.kubeconfig, user_agent="scenario/1")
    yield api
    await api.close()
