"""/readyz tells which Redis keeps the API from accepting turns, and names no host."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from stack.network import free_port
from stack.redis_server import RedisServer
from turnwire.api.app import create_app
from turnwire.api.services import Services
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import disconnect


class Ready:
    """An API in this process with two servers of its own."""

    def __init__(self, data: RedisServer, queue: RedisServer) -> None:
        self.data, self.queue = data, queue
        app = create_app(Settings(redis_url=data.url, queue_redis_url=queue.url))
        self.services: Services = app.state.services
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")

    async def ask(self) -> tuple[int, str]:
        """Return the status, and what the problem says."""
        response = await self._http.get("/readyz")
        return response.status_code, response.json().get("detail", "")


@pytest.fixture
async def ready(tmp_path: Path) -> AsyncIterator[Ready]:
    with RedisServer(tmp_path / "data", port=0) as data, RedisServer(tmp_path / "queue", port=0) as queue:
        ready = Ready(data, queue)
        yield ready
        await disconnect(ready.services.redis, ready.services.queue_redis)


async def test_a_ready_api_says_so(ready: Ready):
    assert await ready.ask() == (200, "")


async def test_a_redis_that_is_away_is_named_by_what_it_holds(ready: Ready):
    ready.queue.kill()
    assert await ready.ask() == (503, "the Redis of queue does not answer")
    ready.data.kill()
    assert await ready.ask() == (503, "the Redis of data does not answer; the Redis of queue does not answer")
    ready.data.start()
    ready.queue.start()
    assert await ready.ask() == (200, "")


async def test_a_replica_is_named(ready: Ready):
    async with Redis.from_url(ready.data.url) as operator:
        await operator.execute_command("REPLICAOF", "127.0.0.1", free_port())
    assert await ready.ask() == (503, "the Redis of data is a replica")


async def test_an_api_that_drains_says_so(ready: Ready):
    ready.services.draining = True
    assert await ready.ask() == (503, "the server is stopping")
