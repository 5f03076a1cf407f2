"""One client that follows a session. A slow one gets the latest status of each turn, and may miss those in between."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self

from turnwire.api.following.change import Change, ChangeCursor
from turnwire.shared.events import Entry


class Follower:
    """An async iterator of batches of events, which is sent like a Tail. An empty batch: nothing came for `idle_s`.

    It holds one change of each turn at most, so a client that never reads costs little.
    """

    push: Callable[[Any], bool] | None = None  # a Tail has one; here every change takes the way through the iterator

    def __init__(self, after: ChangeCursor | None, idle_s: float | None) -> None:
        self.cursor = after
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle_s = idle_s
        self._waiting: dict[int, Change] = {}
        self._woken = asyncio.Event()
        self._stopped = False
        self._error: Exception | None = None

    def begin(self, changes: Sequence[Change]) -> None:
        """Take the first changes: where the session stands, or what has changed since the cursor."""
        if not self.started.done():
            self.started.set_result(None)
        self.offer(changes)

    def offer(self, changes: Sequence[Change]) -> None:
        """Take changes, each of which replaces an earlier one of the same turn."""
        for change in changes:
            self._waiting[change.turn.index] = change
        if changes:
            self._woken.set()

    def fail(self, error: Exception) -> None:
        """Tell who waits for the start of an error. Afterwards, end with it only if it is a defect."""
        if not self.started.done():
            self.started.set_exception(error)
            self.started.exception()  # mark it as seen: the client may have left

    def end(self, error: Exception) -> None:
        """End with an error, because a defect prevents that the session is looked at."""
        self.fail(error)
        self._error = error
        self.stop()

    def stop(self) -> None:
        """End now. The client may continue from its cursor in another process."""
        self._stopped = True
        self._woken.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Entry]:
        try:
            async with asyncio.timeout(self._idle_s):
                await self._woken.wait()
        except TimeoutError:
            return []
        self._woken.clear()
        changes = sorted(self._waiting.values(), key=lambda change: change.place)
        self._waiting.clear()
        if self._stopped:
            self._woken.set()
            if not changes:
                raise self._error or StopAsyncIteration
        self.cursor = changes[-1].cursor
        return [change.entry for change in changes]
