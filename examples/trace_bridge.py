"""A bridge to a tracing service of your own. One that takes OpenTelemetry gets such spans from Turnwire itself.

    TRACES_URL=http://… TURNWIRE_HOOKS=examples.trace_bridge:hooks python3 dev.py

The spans are those of steps, of what the model calls of an attempt used, and of the end of the turn.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import httpx

from turnwire import ChatStreamEvent, ChatTurnHooks, LedgerRow, Turn


class Bridge(ChatTurnHooks):
    """Collects spans until an attempt ends. A step that is stored already is no work, so it has no span."""

    _spans: tuple[dict[str, Any], ...] = ()

    async def produce(self, turn: Turn) -> AsyncGenerator[Any]:
        """Look something up, and say it, in place of your product."""
        search = self.spanned(turn, "search", lambda: asyncio.sleep(0.1, "found"))
        found = await turn.step("search", search, kind="tool")
        yield {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": found}}

    def spanned(self, turn: Turn, name: str, work: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        """Return the work of a step, with a span around it."""

        async def measured() -> Any:
            began_s = time.time()
            try:
                return await work()
            finally:
                self._add(turn, name, began_s=began_s, ended_s=time.time())

        return measured

    def on_event(self, turn: Turn, event: ChatStreamEvent) -> None:
        """Note the end of the turn, with its code if it failed."""
        if event.type in {"session.run.completed", "session.run.failed"}:
            self._add(turn, event.type, code=event.data.get("code"))

    def on_ledger_row(self, turn: Turn, row: LedgerRow) -> None:
        """Note what the model calls of an attempt used. The row of a dead attempt comes with the next one."""
        self._add(turn, f"attempt {row.attempt}", outcome=row.outcome, tokens_out=row.tokens_out)

    def trace_flush(self, _: Turn) -> None:
        """Send the spans. This is the last hook of an attempt, however it ends."""
        spans, self._spans = self._spans, ()
        httpx.post(os.environ["TRACES_URL"], json=spans)

    def _add(self, turn: Turn, name: str, **attributes: Any) -> None:
        self._spans += ({"name": name, "turn": turn.run_id, "traceparent": turn.traceparent, **attributes},)


hooks = Bridge()
