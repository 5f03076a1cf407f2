"""Finds open turns that nobody is working on and puts them back on the queue.

It heals a submit that was cut between its steps, a job that was lost or expired, a turn whose predecessor ended without
waking it. Every worker sweeps; each due turn is handed to one of them.
"""

import asyncio
import logging
from typing import Final

from shared.errors import BadRequest, StoreUnavailable
from shared.keys import TurnKey
from shared.model import TurnRecord
from shared.queue import TurnQueue
from shared.store import TurnStore

log = logging.getLogger(__name__)

SWEEP_S: Final = 4.0


class Sweep:
    """Looks at due turns every few seconds."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        self._store = store
        self._queue = queue

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                while await self.once():
                    pass
            except StoreUnavailable as error:
                log.warning("sweep: %s", error)

    async def once(self) -> int:
        """Look at what is due, at most 100 turns. Returns how many."""
        due = await self._queue.due()
        for run_id, mark in due:
            record = await self._record(run_id)
            if record is None or record.terminal:
                await self._queue.forget(run_id, mark)
            elif await self._queue.enqueue(run_id, accepted=True):
                log.warning("%s: %s, but nobody worked on it; enqueued again", run_id, record.status.value)
        return len(due)

    async def _record(self, run_id: str) -> TurnRecord | None:
        try:
            return await self._store.record(TurnKey.parse(run_id))
        except BadRequest:
            log.warning("%r is not a turn", run_id)
            return None
