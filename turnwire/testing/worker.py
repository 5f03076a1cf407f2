"""One worker in this process: Turnwire's own runner, appender and outbox.

It lacks only the parts that belong to a process: the loop over the queue, the connections, heartbeats and liveness.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from turnwire.shared.errors import AttemptFenced
from turnwire.shared.store.queue import Taken, TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.testing.cancels import PlannedCancel
from turnwire.testing.faults import WorkerLife
from turnwire.testing.observed import Observations, ObservedHooks
from turnwire.worker.attempt.attempt import Stop
from turnwire.worker.attempt.run import TurnRunner
from turnwire.worker.pool.jobs import Jobs
from turnwire.worker.pool.outbox import Outbox
from turnwire.worker.products import Products
from turnwire.worker.turn.prices import Prices


class LoneWorker:
    """Does one job at a time. It may die at any write of its store or queue, and does nothing more then.

    `cancel`: a cancel that a client sends while the producer runs.
    """

    def __init__(
        self,
        worker_id: str,
        hooks: Any,
        store: TurnStore,
        queue: TurnQueue,
        life: WorkerLife,
        seen: Observations,
        cancel: PlannedCancel | None = None,
    ) -> None:
        self.id = worker_id
        self.queue = queue
        observed: Any = ObservedHooks(hooks, seen, lambda: life.dead, cancel)
        products = self._products = Products({None: observed})
        self._started = False
        self._hook_limit_s = store.settings.longest_hook_s
        self.runner = TurnRunner(store, queue, products, worker_id, Prices.from_settings(store.settings))
        self._jobs = Jobs(worker_id, queue, self.runner, Outbox(store, products))
        self._life = life
        life.on_death = self._stop_attempts

    @property
    def dead(self) -> bool:
        """Whether the worker has crashed."""
        return self._life.dead

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Write the worker's events while the block runs."""
        if not self._started:
            await self._products.startup(self._hook_limit_s)
            self._started = True
        appender = asyncio.create_task(self.runner.appender.run(), name=f"appender of {self.id}")
        try:
            yield
        finally:
            appender.cancel()
            with suppress(asyncio.CancelledError):
                await appender

    async def run(self, taken: Taken) -> None:
        """Do a job that this worker has taken, and give it back as the real worker would."""
        try:
            await self._jobs.finish(taken, await self._jobs.run(taken.job_id, company=1))
        except AttemptFenced:
            if not self.dead:
                raise

    def _stop_attempts(self) -> None:
        for attempt in list(self.runner.attempts.values()):
            attempt.stop(Stop.LOST)
