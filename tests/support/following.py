"""Readers that collect events, and a writer that does what a worker would do."""

import asyncio
from typing import Any, Self

from tests.support.turns import append, claim, delta, request
from turnwire.api.following.hub import Hub
from turnwire.shared.events import Cursor, encode_event
from turnwire.shared.keys import TurnKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed
from turnwire.shared.store.turns import TurnStore


class Writer:
    """Writes one turn's log through the store."""

    def __init__(self, store: TurnStore, key: TurnKey) -> None:
        self._store = store
        self.key = key
        self._claimed: Any = None
        self._seq = 0

    async def submit(self) -> Self:
        await self._store.submit(self.key, request())
        return self

    async def claim(self, worker: str = "host/1/aaaaaa") -> Self:
        return self.take(await claim(self._store, self.key, worker))

    def take(self, claimed: Claimed) -> Self:
        """Continue an attempt that was claimed elsewhere."""
        self._claimed = claimed
        self._seq = claimed.next_seq
        return self

    async def say(self, *texts: str) -> None:
        """Append a delta for each text, in one publication."""
        await append(self._store, self._claimed, self._seq, *(delta(text) for text in texts))
        self._seq += len(texts)

    async def end(self, final_text: str = "x") -> None:
        data = {"sessionId": "demo", "replayed": False, "persisted": True}
        events = [encode_event("session.run.completed", data)]
        await self._store.settle(self._claimed, TurnState.COMPLETED, self._seq, events, {"final_text": final_text})


class Follower:
    """Reads a turn to its end and keeps the ids."""

    def __init__(self, hub: Hub, key: TurnKey, after: Cursor | None = None, *, is_new: bool = False) -> None:
        self.ids: list[str] = []
        self.go_on = asyncio.Event()  # while it is cleared, the follower does not read
        self.go_on.set()
        self._hub = hub
        self._key = key
        self._after = after
        self._is_new = is_new

    async def run(self) -> list[str]:
        with self._hub.follow(self._key, self._after, is_new=self._is_new) as tail:
            async for batch in tail:
                self.ids += [entry.id.decode() for entry in batch]
                await self.go_on.wait()
        return self.ids


async def logged(store: TurnStore, key: TurnKey) -> list[str]:
    """Return the ids of a turn's log."""
    return [entry.id.decode() for entry in await store.read(key, None, 100_000)]


async def no_channels(redis: Any) -> bool:
    channels: list[bytes] = await redis.pubsub_channels()
    return channels == []
