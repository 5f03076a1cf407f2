"""Shows a product the events of its turn beside the stream: never in its way."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from turnwire.shared.events import ChatStreamEvent
from turnwire.worker.turn.calling import call
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)

QUEUED_EVENTS: Final = 1000  # a hook that is further behind misses events
CLOSE_S: Final = 5.0  # how long the end of a turn waits for its side channel

_event = msgspec.json.Decoder(ChatStreamEvent)


class SideChannel:
    """Calls `on_event` for each event, in order, in a task of its own."""

    def __init__(self, on_event: Callable[..., Any], turn: Turn) -> None:
        self._on_event = on_event
        self._turn = turn
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUED_EVENTS + 1)
        self._missed = 0
        self._task = asyncio.create_task(self._run(), name=f"on_event {turn.run_id}")

    def show(self, event: bytes) -> None:
        """Queue an event; never waits."""
        if self._queue.qsize() < QUEUED_EVENTS:
            self._queue.put_nowait(event)
        else:
            self._missed += 1

    async def close(self) -> None:
        """Let the hook see what is queued, for a limited time."""
        self._queue.put_nowait(None)
        _, late = await asyncio.wait({self._task}, timeout=CLOSE_S)
        self._task.cancel()
        if late or self._missed:
            logger.warning("%s: on_event was too slow: %d events dropped", self._turn.run_id, self._missed)

    async def _run(self) -> None:
        while (event := await self._queue.get()) is not None:
            try:
                await call(self._on_event, self._turn, _event.decode(event))
            except Exception:
                logger.exception("%s: on_event failed", self._turn.run_id)
