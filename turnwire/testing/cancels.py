"""Cancels a turn in the middle of its stream, as a client does."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from turnwire.shared.replies import CancelVerdict
from turnwire.worker.turn.boundary import opened
from turnwire.worker.turn.turn import Turn


class PlannedCancel:
    """One cancel of a turn, which is sent when the producer has yielded `after` events in one attempt.

    The producer goes on while the cancel is on its way. So a producer that awaits something gets its CancelledError
    there. A producer that yields another event, or ends, is held until the attempt has stopped. So the log never has
    more than `after` events of it.
    """

    def __init__(self, after: int, send: Callable[[], Coroutine[Any, Any, CancelVerdict]]) -> None:
        self.sent = False
        self._after = after
        self._send = send

    def over(self, source: Any, turn: Turn) -> Any:
        """Return a source of the same events, and with the same `final_text`, in which the cancel takes place."""
        stream = self._events(source, turn)
        if hasattr(source, "final_text"):
            return SimpleNamespace(stream=stream, final_text=source.final_text)
        return stream

    async def _events(self, source: Any, turn: Turn) -> AsyncGenerator[Any]:
        yielded, sending = 0, self._sending(0)
        async with opened(source) as events:
            async for event in events:
                await _stopped(turn, sending)
                yield event
                yielded += 1
                sending = sending or self._sending(yielded)
        await _stopped(turn, sending)

    def _sending(self, yielded: int) -> "asyncio.Task[CancelVerdict] | None":
        if self.sent or yielded != self._after:
            return None
        self.sent = True
        return asyncio.create_task(self._send(), name="cancel")


async def _stopped(turn: Turn, sending: "asyncio.Task[CancelVerdict] | None") -> None:
    """Wait until the cancel has stopped this attempt, which cancels the caller. Without a cancel, return at once."""
    while sending is not None and not turn.cancelled:
        if sending.done() and sending.result() is not CancelVerdict.REQUESTED:
            return  # the attempt has lost its lease, which its next write shows
        await asyncio.sleep(0)
