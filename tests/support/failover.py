"""A primary, its replica, and one address that leads to the primary. Tests can break the replication and fail over."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import urlsplit

from redis.asyncio import Redis

from stack.cluster import Stack
from stack.redis_server import RedisServer
from tests.support.proxy import Proxy
from tests.support.scene import SETTINGS, Scene
from tests.support.waiting import wait_until


class Pair:
    """An async context manager. Clients use `url`; `first` is the primary at the start, `second` its replica."""

    def __init__(self, directory: Path) -> None:
        self.first = RedisServer(directory / "first", port=0)
        self.second = RedisServer(directory / "second", port=0)
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for server in (self.first, self.second):
            self._exit.enter_context(server)
        self.front = await self._exit.enter_async_context(Proxy(self.first.url))
        self.link = await self._exit.enter_async_context(Proxy(self.first.url))  # the replication goes through it
        self.url = self.front.url
        await self.order(self.second, "REPLICAOF", *place_of(self.link.url))
        await self.synced()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def order(self, server: RedisServer, *command: str | int) -> Any:
        """Send a command to one of the two, whatever its role is."""
        async with Redis.from_url(server.url, protocol=2) as client:
            return await client.execute_command(*command)

    async def synced(self) -> None:
        """Wait until the replica has everything that the primary had when this was called."""
        target = await self._offset(self.first, "master_repl_offset")

        async def has_it() -> bool:
            return await self._offset(self.second, "slave_repl_offset") >= target

        await wait_until(has_it, "the replica has caught up")

    async def fail_over(self) -> None:
        """Promote the replica, and lead the address to it. Writes that have not been replicated yet are lost."""
        await self.order(self.second, "REPLICAOF", "NO", "ONE")
        self.front.lead_to(self.second.url)

    async def demote(self) -> None:
        """Make the old primary a replica of the new one. Connections to it stay open."""
        await self.order(self.first, "REPLICAOF", *place_of(self.second.url))

    async def _offset(self, server: RedisServer, field: str) -> int:
        async with Redis.from_url(server.url, protocol=2) as client:
            info = await client.info("replication")
        return int(info.get(field, -1)) if info.get("master_link_status", "up") == "up" else -1


def place_of(url: str) -> tuple[str, int]:
    """Return the host and the port of a Redis URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@asynccontextmanager
async def scene_behind(pair: Pair, directory: Path, *, workers: int, env: Mapping[str, str]) -> AsyncIterator[Scene]:
    """Run one API and some workers that reach the pair by its address. Yields the view of them."""
    ledger = directory / "ledger"
    server = cast("RedisServer", pair)  # of the server, a Stack and a Scene need only the URL
    stack = Stack(directory, workers=workers, env=SETTINGS | {"CHAOS_LEDGER": str(ledger)} | dict(env), redis=server)
    await asyncio.to_thread(stack.start)  # the address is served by this event loop
    try:
        async with Scene(stack, ledger) as view:
            yield view
    finally:
        await asyncio.to_thread(stack.stop)
