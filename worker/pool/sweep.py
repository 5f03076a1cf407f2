"""Finds open turns that nobody works on, and enqueues them again.

This helps a turn whose submit was interrupted between its steps, whose job was lost or has expired, or whose
predecessor ended without waking it. Every worker sweeps; each due turn is handed to one of them.
"""

import asyncio
import logging
from typing import Final

from turnwire.shared.errors import BadRequest, RecordUnreadable, StoreUnavailable
from turnwire.shared.keys import TurnKey, is_persist_id, run_id_of
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import TurnRecord
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.outcome import BEHIND_MS, look_ms

logger = logging.getLogger(__name__)

SWEEP_S: Final = 4.0
SHORTEST_S: Final = 0.02  # between two sweeps


class Sweep:
    """Looks at the turns that are due, every few seconds."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        self._store = store
        self._queue = queue

    async def run(self) -> None:
        """Sweep until cancelled: every few seconds, or when the next turn is due."""
        wait_s = SWEEP_S
        while True:
            await asyncio.sleep(wait_s)
            try:
                found, next_ms = await self.once()
            except StoreUnavailable as error:
                logger.warning("the sweep could not look for open turns (%s); trying again in %g s", error, SWEEP_S)
                wait_s = SWEEP_S
            else:
                until_next_s = SWEEP_S if next_ms is None else next_ms / 1000
                wait_s = 0 if found else min(SWEEP_S, max(until_next_s, SHORTEST_S))

    async def once(self) -> tuple[int, int | None]:
        """Look at what is due, at most 100 jobs. Returns how many, and in how many ms the next one is due."""
        due, next_ms = await self._queue.due()
        for job_id, mark in due:
            is_persist = is_persist_id(job_id)
            try:
                record = await self._record(run_id_of(job_id))
            except RecordUnreadable as error:
                logger.warning("%s; the sweep leaves it: %s", error, error.__cause__)
                continue
            if is_persist and record is not None and (record.persist == "pending" or not record.terminal):
                await self._queue.enqueue_persist(record.run_id)
            elif record is None or is_persist:
                await self._queue.forget(job_id, mark)
            elif record.status is TurnState.SUSPENDED:
                await self._look_at_suspended(TurnKey.parse(record.run_id))
            elif record.status is TurnState.QUEUED and (earlier := await self._store.waits_for(TurnKey.parse(job_id))):
                await self._queue.announce(earlier.run_id)  # its end wakes this turn, so the sweep must know it
                await self._queue.postpone(job_id, BEHIND_MS)
            elif await self._queue.enqueue(record.run_id, accepted=True) and not record.terminal:
                # A turn that has ended is enqueued, too: whoever takes its job publishes its ledger rows.
                logger.warning("%s: nobody worked on this %s turn; enqueued again", record.run_id, record.status.value)
        return len(due), next_ms

    async def _look_at_suspended(self, key: TurnKey) -> None:
        left_ms = await self._store.expire(key)
        if left_ms == 0:
            await self._queue.enqueue(key.run_id, accepted=True)
        else:
            await self._queue.postpone(key.run_id, look_ms(left_ms, self._store.settings))

    async def _record(self, run_id: str) -> TurnRecord | None:
        try:
            return await self._store.record(TurnKey.parse(run_id))
        except BadRequest:
            logger.warning("%r is not a run id; the sweep forgets it", run_id)
            return None
