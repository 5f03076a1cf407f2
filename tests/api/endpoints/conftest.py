"""The API in this process, asked without a socket."""

from collections.abc import AsyncIterator

import httpx
import pytest

from turnwire.api.app import create_app


@pytest.fixture
async def http(settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client
    await app.state.services.redis.aclose(close_connection_pool=True)
