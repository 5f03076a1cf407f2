"""Devices that follow a session, in the test's process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tests.support.turns import SESSION
from tests.support.waiting import wait_until
from turnwire.api.following.change import ChangeCursor
from turnwire.api.following.feeds import Feeds
from turnwire.shared.store.turns import TurnStore

NEVER_S = 3600.0  # longer than any test


class Device:
    """Reads a feed in the background. `told`: the data of the events so far; `ids`: their cursors."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.types: list[str] = []
        self.ids: list[str] = []
        self.ended = False

    @property
    def statuses(self) -> list[tuple[int, str, int]]:
        return [(one["turnIndex"], one["status"], one["attempt"]) for one in self.told]

    async def read(self, follower: Any) -> None:
        async for batch in follower:
            for entry in batch:
                event = msgspec.json.decode(entry.event)
                self.types.append(event["type"])
                self.told.append(event["data"])
                self.ids.append(entry.id.decode())
        self.ended = True

    async def hears(self, *expected: tuple[int, str, int]) -> None:
        """Wait until these are the last changes that it was told of."""
        await wait_until(lambda: self.statuses[-len(expected) :] == [*expected], f"{expected}, not {self.statuses}")


@asynccontextmanager
async def device(feeds: Feeds, after: str | None = None) -> AsyncIterator[Device]:
    one = Device()
    with feeds.follow(SESSION, None if after is None else ChangeCursor.parse(after)) as follower:
        await follower.started
        reading = asyncio.create_task(one.read(follower))
        try:
            yield one
        finally:
            reading.cancel()
            await asyncio.wait({reading})


async def wait_a_ms(store: TurnStore) -> None:
    """Let the clock of Redis go on, so that the next change has a later time than the one before."""
    seconds, micros = await store.redis.time()

    async def later() -> bool:
        now_s, now_us = await store.redis.time()
        return bool(now_s * 1000 + now_us // 1000 > seconds * 1000 + micros // 1000)

    await wait_until(later, "the next millisecond")
