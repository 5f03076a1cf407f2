"""arq's worker, changed where long streaming jobs need it. docs/worker.md has the list and the measurements.

- An idle worker waits in BLPOP for a hint, or for the next job to fall due: it does not poll.
- A claim takes as many due jobs as there are free slots, in one round trip, and moves them out of sight for a lease.
- One heartbeat per process renews every lease and every claim, in a thread of its own (`pulse`).
- A drain lets turns finish, then gives them back; nothing is stranded. Redis may go away: the worker waits for it.
"""

import asyncio
import logging
import os
import socket
from contextlib import suppress
from typing import Any, Final

import msgspec
from arq.utils import timestamp_ms
from arq.worker import Worker, func
from redis.exceptions import RedisError

from turnwire import __version__
from turnwire.shared import keys
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.identity import worker_id
from turnwire.shared.keys import TurnKey
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect_data_and_queue, connect_listener
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.queue import PERSIST_TURN, RUN_TURN, Taken, TurnQueue, decode_job, encode_job
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.outcome import Again, Done, Parked
from turnwire.worker.attempt.run import TurnRunner
from turnwire.worker.pool.cancels import listen
from turnwire.worker.pool.claims import Claims
from turnwire.worker.pool.liveness import Liveness, WorkerEntry, bury
from turnwire.worker.pool.outbox import Outbox
from turnwire.worker.pool.pulse import Pulse
from turnwire.worker.pool.supervision import kept_running
from turnwire.worker.pool.sweep import Sweep
from turnwire.worker.products import Products
from turnwire.worker.turn.calling import contain_tasks
from turnwire.worker.turn.prices import Prices
from turnwire.worker.turn.threads import product_threads

logger = logging.getLogger(__name__)

GIVE_BACK_S: Final = 5.0  # how long a stopping worker tries to give turns back
SHARES: Final = 4  # a burst is taken in so many bites: other idle workers get theirs
HEALTH_S: Final = 15  # arq's health key is refreshed so often


class TurnWorker(Worker):
    """Claims turns from arq's queue and runs up to `max_jobs` of them side by side."""

    def __init__(self, settings: Settings, products: Products, prices: Prices | None = None) -> None:
        self.id = worker_id()
        self._settings = settings
        self._products = products
        self._data, queue_redis = connect_data_and_queue(settings, connections=settings.redis_connections)
        self._listener: Any = connect_listener(settings.queue_url)
        self.queue = TurnQueue(queue_redis, settings)
        store = TurnStore(self._data, settings)
        self.runner = TurnRunner(store, self.queue, products, self.id, prices)
        self._store = store
        self._claims = Claims()
        self._cancels_redis = connect_listener(settings.redis_url)
        self._pulse = Pulse(
            settings,
            self.id,
            self.runner,
            entry=self._describe,
            claims=self._claims,
            running=lambda: len(self.tasks),
            on_death=self.drain,
        )
        self._sweep = Sweep(store, self.queue)
        self._outbox = Outbox(store, products)
        self._started_at_ms = timestamp_ms()
        self._beats = 0
        self._retaken: dict[str, Taken] = {}  # run again as soon as the task of the same turn has ended
        self._slot_free = asyncio.Event()
        self._draining = asyncio.Event()
        super().__init__(
            functions=[func(run_turn, name=RUN_TURN), func(run_turn, name=PERSIST_TURN)],
            redis_pool=queue_redis,
            max_jobs=settings.max_jobs,
            handle_signals=False,
            keep_result=0,
            health_check_interval=HEALTH_S,
            job_serializer=encode_job,
            job_deserializer=decode_job,
        )

    def drain(self) -> None:
        """Claim nothing more, finish what runs for `drain_s`, give back the rest. A second call gives back at once."""
        if self._draining.is_set():
            self.runner.give_back()
        self._draining.set()

    async def main(self) -> None:
        """Work until drained. Replaces arq's poll loop."""
        contain_tasks(asyncio.get_running_loop())
        product_threads.limit = self.max_jobs
        self._pulse.start()
        try:
            await self._work()
        finally:
            await self._pulse.stop()

    async def _work(self) -> None:
        logger.info("worker ready: %s, %d slots, %s", self.id, self.max_jobs, self._products.names())
        async with asyncio.TaskGroup() as group:
            side = [
                group.create_task(kept_running(name, work), name=name)
                for name, work in (
                    ("appender", self.runner.appender.run),
                    ("health", self._report_health),
                    ("sweep", self._sweep.run),
                    ("cancels", self._listen_for_cancels),
                )
            ]
            dispatch = group.create_task(kept_running("dispatch", self._dispatch), name="dispatch")
            await self._draining.wait()
            dispatch.cancel()
            await self._finish_running()
            for task in side:
                task.cancel()

    async def _finish_running(self) -> None:
        logger.info("draining: %d turns run", len(self.tasks))
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=self._settings.drain_s)
        self.runner.give_back()
        if self.tasks:
            _, stuck = await asyncio.wait(self.tasks.values(), timeout=GIVE_BACK_S)
            for task in stuck:  # Redis does not answer: their leases will end
                task.cancel()

    async def _dispatch(self) -> None:
        woken = True  # there may be hints of before our time
        while True:
            free = self.max_jobs - len(self.tasks)
            if free == 0:
                self._slot_free.clear()
                await self._slot_free.wait()
                continue
            count = min(free, max(self.max_jobs // SHARES, 1))
            try:
                taken, wait_ms = await self.queue.take(self.id, count, woken=woken)
            except StoreUnavailable:
                taken, wait_ms = await until_answered(self._take_again, count)
            for job in taken:
                self._start(job)
            if len(taken) < count:
                woken = await self._wait_for_hint(wait_ms)

    async def _take_again(self, count: int) -> tuple[list[Taken], int | None]:
        """After a lost reply: what that call claimed, and we never heard of, is due again."""
        for run_id in await self.queue.owned(self.id):
            if run_id not in self.tasks:
                await self.queue.again(self.id, Taken(run_id, b""))
        return await self.queue.take(self.id, count)

    async def _wait_for_hint(self, wait_ms: int | None) -> bool:
        """Until a job is enqueued (True) or the next one falls due; a timer stands behind both."""
        longest_s = self._settings.poll_s
        timeout_s = longest_s if wait_ms is None else min(longest_s, max(wait_ms, 1) / 1000)
        try:
            async with asyncio.timeout(timeout_s + self._settings.redis_timeout_s):  # the reply may be lost for ever
                return await self._listener.blpop([keys.HINTS], timeout=timeout_s) is not None
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("waiting for the queue: %s", type(error).__name__)
            await asyncio.sleep(0.2)
            return True

    def _start(self, taken: Taken) -> None:
        if taken.run_id in self.tasks:  # due again before we were done with it, or our claim had lapsed
            self._retaken[taken.run_id] = taken
            return
        self._claims.add(taken.run_id)
        self.job_counter += 1
        task = self.loop.create_task(self._run_taken(taken), name=f"job {taken.run_id}")
        self.tasks[taken.run_id] = task
        task.add_done_callback(lambda _: self._ended(taken.run_id))

    def _ended(self, run_id: str) -> None:
        del self.tasks[run_id]
        self._claims.discard(run_id)
        self.job_counter -= 1
        self._slot_free.set()
        if retaken := self._retaken.pop(run_id, None):
            self._start(retaken)

    async def _run_taken(self, taken: Taken) -> None:
        try:
            end = await self._run(taken.run_id)
            await self._claims.release(taken.run_id)
            match end:
                case Done(rows):
                    self.jobs_complete += 1
                    await until_answered(self.queue.end, self.id, taken, rows)
                case Parked(look_ms, rows):
                    await until_answered(self.queue.park, self.id, taken, look_ms, rows)
                case Again(delay_ms, rows):
                    self.jobs_retried += 1
                    await until_answered(self.queue.again, self.id, taken, delay_ms, rows)
        except Exception:  # a bug of ours must not end the worker: the claim lapses, somebody tries again
            self.jobs_failed += 1
            logger.exception("%s: the job failed", taken.run_id)

    async def _run(self, job_id: str) -> Done | Parked | Again:
        if job_id.startswith(keys.PERSIST_PREFIX):
            return await self._outbox.run(TurnKey.parse(job_id.removeprefix(keys.PERSIST_PREFIX)))
        return await self.runner.run(job_id)

    def _describe(self, liveness: Liveness) -> bytes:
        """The worker's entry in `turnwire:workers`. Called in the pulse's thread."""
        self._beats += 1
        entry = WorkerEntry(
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            started_at=self._started_at_ms,
            heartbeat=self._beats,
            at=timestamp_ms(),
            running=len(self.tasks),
            capacity=self.max_jobs,
            client_id=liveness.client_id,
            server=liveness.server,
        )
        return msgspec.json.encode(entry)

    async def _listen_for_cancels(self) -> None:
        await listen(self._cancels_redis, self.runner.cancel)

    async def _report_health(self) -> None:
        while True:
            try:
                await self.record_health()
            except (RedisError, OSError) as error:
                logger.warning("health: %s", type(error).__name__)
            await asyncio.sleep(HEALTH_S)

    async def close(self) -> None:
        """Close the connections; arq's health key expires by itself, for other workers share it."""
        await self._products.aclose()
        with suppress(StoreUnavailable):  # gives back what it had claimed and not yet begun
            entry = (await self.queue.workers()).get(self.id, b"")
            await bury(self._store, self.queue, self.id, entry)
        for redis in (self._listener, self._cancels_redis, self._data, self.queue.redis):
            await redis.aclose(close_connection_pool=True)
        self._pool = None


async def run_turn(ctx: dict[Any, Any], run_id: str) -> None:
    """Stands for the turn in arq's table of functions; TurnWorker runs it by itself."""
    raise NotImplementedError
