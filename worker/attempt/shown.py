"""Shows a product each event and each ledger row of its turn, and tells it about the end.

Nothing here can delay or fail a turn, because errors are logged and every wait has a limit.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from turnwire.shared.ledger import LedgerRow, decode_row
from turnwire.shared.model import Claimed
from turnwire.worker.attempt.side_channel import SideChannel
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import hook
from turnwire.worker.turn.limits import CLOSE_S, call_within
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)


class Shown:
    """Calls the product's `on_event`, `on_ledger_row` and `trace_flush`, if it has them, from `open` on."""

    def __init__(self, claimed: Claimed) -> None:
        self.channel: SideChannel | None = None  # takes events, if the product wants to see them
        self._claimed = claimed
        self._on_row: Callable[[LedgerRow], Awaitable[Any]] | None = None
        self._trace_flush: Callable[[], Awaitable[Any]] | None = None

    def open(self, hooks: ChatTurnHooks, turn: Turn) -> None:
        """Find the product's hooks, and show it the event that the claim wrote."""
        on_event, on_row, trace_flush = (hook(hooks, name) for name in ("on_event", "on_ledger_row", "trace_flush"))
        if on_row is not None:
            self._on_row = lambda row: call_within(CLOSE_S, on_row, turn, row)
        if trace_flush is not None:
            self._trace_flush = lambda: call_within(CLOSE_S, trace_flush, turn)
        if on_event is not None:
            self.channel = SideChannel(on_event, turn)
            self.channel.show(self._claimed.first_event)

    def events(self, events: Sequence[bytes]) -> None:
        """Show events that a script has written."""
        if self.channel is not None:
            for event in events:
                self.channel.show(event)

    async def close(self, rows: Mapping[int, bytes]) -> None:
        """Show the remaining events and the ledger `rows` (by attempt), then flush the traces; each for at most 5 s."""
        if self.channel is not None:
            await self.channel.close()
        if self._on_row is not None:
            await self._show_rows(self._on_row, rows)
        if self._trace_flush is not None:
            try:
                await self._trace_flush()
            except Exception:
                logger.exception("%s: the hook trace_flush failed or took too long", self._claimed.key.run_id)

    async def _show_rows(self, on_row: Callable[[LedgerRow], Awaitable[Any]], rows: Mapping[int, bytes]) -> None:
        """Show the rows written since the claim. The claim itself wrote one if the attempt before had crashed."""
        first = max(self._claimed.rows, default=0)
        try:
            async with asyncio.timeout(CLOSE_S):
                for attempt in sorted(attempt for attempt in rows if attempt >= first):
                    row = decode_row(rows[attempt])
                    if attempt > first or row.outcome == "crashed":
                        await on_row(row)
        except Exception:
            logger.exception("%s: the hook on_ledger_row failed or took too long", self._claimed.key.run_id)
