"""One worker in this process: Turnwire's own runner, appender and outbox.

Only what belongs to a process is missing: the loop over the queue with its connections, heartbeats and liveness.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from turnwire.shared import keys
from turnwire.shared.errors import AttemptFenced
from turnwire.shared.keys import TurnKey
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.queue import Taken, TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.testing.faults import WorkerLife
from turnwire.testing.observed import Observations, ObservedHooks
from turnwire.worker.attempt.attempt import Stop
from turnwire.worker.attempt.outcome import Again, Done, Parked
from turnwire.worker.attempt.run import TurnRunner
from turnwire.worker.pool.outbox import Outbox
from turnwire.worker.products import Products
from turnwire.worker.turn.prices import Prices


class LoneWorker:
    """Does one job at a time. It may die at any write of its store or queue, and does nothing more then."""

    def __init__(
        self, worker_id: str, hooks: Any, store: TurnStore, queue: TurnQueue, life: WorkerLife, seen: Observations
    ) -> None:
        self.id = worker_id
        self.queue = queue
        observed: Any = ObservedHooks(hooks, seen, lambda: life.dead)
        products = Products({None: observed})
        self.runner = TurnRunner(store, queue, products, worker_id, Prices.from_settings(store.settings))
        self._outbox = Outbox(store, products)
        self._life = life
        life.on_death = self._stop_attempts

    @property
    def dead(self) -> bool:
        """It has crashed."""
        return self._life.dead

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """While inside, its events are written."""
        appender = asyncio.create_task(self.runner.appender.run(), name=f"appender of {self.id}")
        try:
            yield
        finally:
            appender.cancel()
            with suppress(asyncio.CancelledError):
                await appender

    async def run(self, taken: Taken) -> None:
        """Do a job that it took, and give it back as the real worker would."""
        try:
            await self._finish(taken, await self._run(taken.run_id))
        except AttemptFenced:
            if not self.dead:
                raise

    async def _run(self, job_id: str) -> Done | Parked | Again:
        if job_id.startswith(keys.PERSIST_PREFIX):
            return await self._outbox.run(TurnKey.parse(job_id.removeprefix(keys.PERSIST_PREFIX)))
        return await self.runner.run(job_id)

    async def _finish(self, taken: Taken, end: Done | Parked | Again) -> None:
        match end:
            case Done(rows):
                await until_answered(lambda: self.queue.end(self.id, taken, rows))
            case Parked(look_ms, rows):
                await until_answered(lambda: self.queue.park(self.id, taken, look_ms, rows))
            case Again(delay_ms, rows):
                await until_answered(lambda: self.queue.again(self.id, taken, delay_ms, rows))

    def _stop_attempts(self) -> None:
        for attempt in list(self.runner.attempts.values()):
            attempt.stop(Stop.LOST)
