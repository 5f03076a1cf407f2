"""Shows a product the events of its turn, without ever delaying the turn's stream."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from turnwire.shared.events import OWN_EVENT_PREFIX, ChatStreamEvent, encode_event
from turnwire.worker.turn.calling import call
from turnwire.worker.turn.hook_positions import ON_EVENT, in_hook
from turnwire.worker.turn.limits import CLOSE_S, give_up
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)

QUEUED_EVENTS: Final = 1000  # a hook that is further behind than this misses events
SKIPPED: Final = "on_event.skipped"  # this event takes the place of missing ones; only the hook sees it

_event = msgspec.json.Decoder(ChatStreamEvent)


class SideChannel:
    """Calls `on_event` for each event, in order, in a task of its own.

    A hook that is far behind misses events of the producer, and is told how many. It never misses a `session.run.*`.
    """

    def __init__(self, on_event: Callable[..., Any], turn: Turn) -> None:
        self._on_event = on_event
        self._turn = turn
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._skipped = 0  # how many events were skipped since the last one that was queued
        self._all_skipped = 0
        self._task = asyncio.create_task(self._run(), name=f"on_event {turn.run_id}")

    def show(self, event: bytes) -> None:
        """Queue an event for the hook. Never waits; if the hook is too far behind, the event is skipped."""
        if self._queue.qsize() < QUEUED_EVENTS or event.startswith(OWN_EVENT_PREFIX):
            self._tell_skipped()
            self._queue.put_nowait(event)
        else:
            self._skipped += 1

    async def close(self) -> None:
        """Let the hook see what is queued, for a limited time."""
        self._tell_skipped()
        self._queue.put_nowait(None)
        try:
            _, late = await asyncio.wait({self._task}, timeout=CLOSE_S)
        finally:
            self._task.cancel()
        if late:
            await give_up(self._task)
        if late or self._all_skipped:
            left = self._queue.qsize()
            logger.warning(
                "%s: the hook on_event was too slow: it missed %d events", self._turn.run_id, self._all_skipped + left
            )

    def _tell_skipped(self) -> None:
        if self._skipped:
            self._queue.put_nowait(encode_event(SKIPPED, {"count": self._skipped}))
            self._all_skipped += self._skipped
            self._skipped = 0

    async def _run(self) -> None:
        with in_hook(ON_EVENT):
            while (event := await self._queue.get()) is not None:
                try:
                    await call(self._on_event, self._turn, _event.decode(event))
                except Exception:
                    logger.exception("%s: on_event failed", self._turn.run_id)
