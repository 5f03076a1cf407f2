"""Finds open turns that nobody works on, and enqueues them again.

This helps a turn whose submit was interrupted between its steps, whose job was lost or has expired, or whose
predecessor ended without waking it. One worker of the pool sweeps. When it stops, dies or does not reach Redis, another
one does: all others ask every few seconds whether somebody sweeps.
"""

import asyncio
import logging
import random
import time
from typing import Final

from turnwire.shared.errors import BadRequest, RecordUnreadable, StoreUnavailable
from turnwire.shared.keys import CALLBACK_PREFIX, ERASURE_PREFIX, TurnKey, is_persist_id, run_id_of, tenant_of
from turnwire.shared.lanes import Lane
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.log_context import begin
from turnwire.shared.metrics import counter
from turnwire.shared.model import TurnRecord
from turnwire.shared.replies import Due
from turnwire.shared.store.erasures import Erasures
from turnwire.shared.store.pausing import Pausing
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.queue_open import SWEEPER_MS
from turnwire.shared.store.suspended import SuspendedTurns
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.outcome import BEHIND_MS, look_ms
from turnwire.worker.pool.rebuild import Rebuild
from turnwire.worker.pool.suspended_check import SuspendedCheck

logger = logging.getLogger(__name__)

SWEEP_S: Final = 1.0  # between two sweeps, unless a turn is due earlier
SHORTEST_S: Final = 0.2  # the same, at least
STANDBY_S: Final = 4.0  # between two looks at a list that was empty, or that could not be read
GIVE_UP_S: Final = SWEEPER_MS / 1000  # whoever asks for nothing for so long sweeps no more

_FINDS: Final = counter("turnwire_sweep_finds_total")


class Sweep:
    """Looks at the turns that are due, if no other worker does."""

    def __init__(self, store: TurnStore, queue: TurnQueue, worker_id: str, erasures: Erasures | None = None) -> None:
        self._store = store
        self._queue = queue
        self._worker_id = worker_id
        self._erasures = erasures
        self._rebuild = Rebuild(store, queue, self._erasures)

    async def run(self) -> None:
        """Sweep until cancelled, or stand by for as long as another worker sweeps."""
        wait_s, rebuild_at_s = SWEEP_S, 0.0
        pausing = Pausing(self._store, self._queue)
        suspended = SuspendedCheck(SuspendedTurns(self._store.redis, self._store.settings))
        while True:
            await asyncio.sleep(wait_s)
            try:
                due = await self._queue.due(self._worker_id)
                if due.sweeps and time.monotonic() >= rebuild_at_s:
                    rebuild_at_s = time.monotonic() + await self._rebuild.if_needed()
                    await pausing.go_on()
                    await suspended.go_on()
            except StoreUnavailable as error:
                logger.warning("the sweep could not look for open turns (%s); trying again in %g s", error, STANDBY_S)
                wait_s = STANDBY_S
                continue
            try:
                await self._look_at(due.jobs)
            except StoreUnavailable as error:
                logger.warning("the sweep could not look at a turn (%s); another worker may sweep now", error)
                wait_s = GIVE_UP_S
            else:
                wait_s = _pause_s(due)

    async def once(self) -> int:
        """Look at what is due, at most 500 jobs. Returns how many were looked at."""
        due = await self._queue.due(self._worker_id)
        await self._look_at(due.jobs)
        return len(due.jobs)

    async def _look_at(self, jobs: list[tuple[str, str]]) -> None:
        for job_id, mark in jobs:
            begin(run_id=run_id_of(job_id).removeprefix(CALLBACK_PREFIX), tenant=tenant_of(job_id))
            try:
                if job_id.startswith(ERASURE_PREFIX):
                    await self._look_at_erasure(job_id, mark)
                elif job_id.startswith(CALLBACK_PREFIX):
                    await self._look_at_callback(job_id, mark)
                else:
                    await self._look_at_turn(job_id, mark)
            except RecordUnreadable as error:
                logger.warning("%s; the sweep leaves it: %s", error, error.__cause__)
            finally:
                begin()

    async def _look_at_turn(self, job_id: str, mark: str) -> None:
        """Look at a turn that is to run, or whose answer is to be persisted."""
        is_persist = is_persist_id(job_id)
        record = await self._record(run_id_of(job_id))
        if is_persist and record is not None and (record.persist == "pending" or not record.terminal):
            if await self._queue.enqueue_persist(record.run_id, lane=record.lane):
                _FINDS.add("persist")
        elif record is None or is_persist:
            await self._queue.forget(job_id, mark)
        elif record.status is TurnState.SUSPENDED:
            await self._look_at_suspended(TurnKey.parse(record.run_id), record.lane)
        elif record.status is TurnState.QUEUED and (earlier := await self._store.waits_for(TurnKey.parse(job_id))):
            await self._queue.announce(earlier.run_id)  # its end wakes this turn, so the sweep must know it
            await self._queue.postpone(job_id, BEHIND_MS)
        elif await self._queue.enqueue(record.run_id, accepted=True, lane=record.lane) and not record.terminal:
            # A turn that has ended is enqueued, too: whoever takes its job publishes its ledger rows.
            _FINDS.add("turn")
            logger.warning("%s: nobody worked on this %s turn; enqueued again", record.run_id, record.status.value)

    async def _look_at_erasure(self, job_id: str, mark: str) -> None:
        if self._erasures is None:
            return
        pool = await self._erasures.pool_of(job_id.removeprefix(ERASURE_PREFIX))
        if pool is not None:
            if await self._queue.enqueue_erasure(job_id, pool):
                _FINDS.add("erasure")
        else:
            await self._queue.forget(job_id, mark)

    async def _look_at_callback(self, job_id: str, mark: str) -> None:
        record = await self._record(job_id.removeprefix(CALLBACK_PREFIX))
        if record is not None and record.callback is not None:
            if await self._queue.enqueue_callback(record.run_id, lane=record.lane):
                _FINDS.add("callback")
        else:
            await self._queue.forget(job_id, mark)

    async def _look_at_suspended(self, key: TurnKey, lane: Lane) -> None:
        left_ms = await self._store.expire(key)
        if left_ms == 0:
            if await self._queue.enqueue(key.run_id, accepted=True, lane=lane):
                _FINDS.add("signal_timeout")
        else:
            await self._queue.postpone(key.run_id, look_ms(left_ms, self._store.settings))

    async def _record(self, run_id: str) -> TurnRecord | None:
        try:
            return await self._store.record(TurnKey.parse(run_id))
        except BadRequest:
            logger.warning("%r is not a run id; the sweep forgets it", run_id)
            return None


def _pause_s(due: Due) -> float:
    """Return how long to wait before the next look."""
    if not due.sweeps:
        return (due.next_ms or 0) / 1000 * random.uniform(0.75, 1.25)  # noqa: S311 - no secret; so that they spread
    if due.jobs:
        return 0
    return STANDBY_S if due.next_ms is None else min(SWEEP_S, max(due.next_ms / 1000, SHORTEST_S))
