"""arq's worker, changed where long streaming jobs need it. docs/worker.md has the list and the measurements.

- An idle worker does not poll. It waits for a hint, or until the next job is due (`hints`).
- One round trip claims as many due jobs as there are free slots, and hides them for the time of a lease (`dispatch`).
- One heartbeat per process renews every lease and every claim, in a thread of its own (`pulse`).
- A worker that drains lets turns finish, and gives back those that do not. While Redis is away, the worker waits.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any, Final

from arq.worker import Worker, func
from redis.exceptions import RedisError

from turnwire.shared.channels import cancels_channel
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.exposition import Exposition
from turnwire.shared.identity import worker_id
from turnwire.shared.lanes import read_pools
from turnwire.shared.settings import Settings
from turnwire.shared.store.callbacks import Callbacks
from turnwire.shared.store.connect import connect_data_and_queue, connect_listener, disconnect
from turnwire.shared.store.erasures import Erasures
from turnwire.shared.store.job_bytes import decode_job, encode_job
from turnwire.shared.store.queue import PERSIST_TURN, RUN_TURN, TELL_ERASURE, TurnQueue
from turnwire.shared.store.sealed import turn_store
from turnwire.shared.supervision import kept_running
from turnwire.worker.attempt.run import TurnRunner
from turnwire.worker.pool.callback_outbox import CallbackOutbox, sender_of
from turnwire.worker.pool.cancels import listen
from turnwire.worker.pool.claims import Claims
from turnwire.worker.pool.dispatch import Dispatch
from turnwire.worker.pool.entry import OwnEntry
from turnwire.worker.pool.erasure_outbox import ErasureOutbox
from turnwire.worker.pool.hints import Hints
from turnwire.worker.pool.jobs import Jobs
from turnwire.worker.pool.liveness import bury
from turnwire.worker.pool.outbox import Outbox
from turnwire.worker.pool.outbox_slots import outbox_slots
from turnwire.worker.pool.probes import Probes, WorkerState
from turnwire.worker.pool.pulse import Pulse
from turnwire.worker.pool.sweep import Sweep
from turnwire.worker.products import Products
from turnwire.worker.turn.calling import contain_tasks
from turnwire.worker.turn.given_up import PER_SLOT, given_up
from turnwire.worker.turn.prices import Prices
from turnwire.worker.turn.threads import product_threads

logger = logging.getLogger(__name__)

GIVE_BACK_S: Final = 5.0  # how long a stopping worker tries to give turns back; longer than CANCEL_PAUSES_S together
LONGEST_CLOSE_S: Final = 25.0  # what comes after that: the hooks and the connections are closed
HEALTH_S: Final = 15  # between two writes of arq's health key


class TurnWorker(Worker):
    """Wires the parts of a worker process: the runner of turns, the dispatch of jobs, the pulse, the side tasks."""

    def __init__(self, settings: Settings, products: Products, prices: Prices | None = None) -> None:
        self.id = worker_id()
        self._settings = settings
        self._products = products
        self._data, queue_redis = connect_data_and_queue(settings, connections=settings.redis_connections)
        self._waiting = connect_listener(settings.queue_url)
        self._cancels = connect_listener(settings.redis_url)
        self._store = turn_store(self._data, settings)
        self.queue = TurnQueue(queue_redis, settings)
        self.runner = TurnRunner(self._store, self.queue, products, self.id, prices)
        erasures = Erasures(self._store, self.queue)
        self._sweep = Sweep(self._store, self.queue, self.id, erasures)
        outbox = Outbox(self._store, products), ErasureOutbox(erasures, products, settings)
        callbacks = CallbackOutbox(self._store, Callbacks(self._data, settings), sender_of(settings))
        jobs = Jobs(self.id, self.queue, self.runner, *outbox, callbacks)
        claims = Claims()
        hints = Hints(self._waiting, settings)
        self._dispatch = Dispatch(self.id, self.queue, hints, jobs, claims, settings.max_jobs, settings.reserved_slots)
        running = self._dispatch.running
        entry = OwnEntry(
            settings.max_jobs,
            running,
            self.is_draining,
            reserved=settings.reserved_slots,
            projects=products.projects,
            pools=read_pools(settings.pools),
        )
        self._pulse = Pulse(
            settings,
            self.id,
            self.runner,
            entry=lambda liveness: entry.next(liveness.server),
            claims=claims,
            running=running,
            on_death=self.stop_for_a_fault,
            serve=None if settings.metrics_port is None else self._serve_probes,
            on_drain=self._drain_for_an_operator,
        )
        self.probes = Probes(settings, self._state, Exposition("worker", self._gauges))
        self.has_to_be_replaced = False
        self.on_drain: Callable[[], None] = self.drain  # called when an operator wants this worker to drain
        self._draining = asyncio.Event()
        super().__init__(
            functions=[func(run_turn, name=name) for name in (RUN_TURN, PERSIST_TURN, TELL_ERASURE)],
            redis_pool=queue_redis,
            max_jobs=settings.max_jobs,
            handle_signals=False,
            keep_result=0,
            health_check_interval=HEALTH_S,
            job_serializer=encode_job,
            job_deserializer=decode_job,
        )
        self.tasks = self._dispatch.tasks  # arq's health key counts them

    def drain(self) -> None:
        """Claim no more jobs, let turns run for `drain_s`, give back the rest. A second call gives back at once."""
        if self._draining.is_set():
            self.runner.give_back()
        self._draining.set()

    def _drain_for_an_operator(self) -> None:
        if not self.is_draining():
            logger.info("an operator wants this worker to drain")
            self.on_drain()

    def is_draining(self) -> bool:
        """Whether it takes no more jobs. May be called in any thread."""
        return self._draining.is_set()

    @property
    def longest_stop_s(self) -> float:
        """How long a stop takes at most, unless product code holds the event loop."""
        return self._settings.drain_s + GIVE_BACK_S + LONGEST_CLOSE_S

    def stop_for_a_fault(self) -> None:
        """Drain, because only a new process can go on. Its supervisor should start one: see the exit status."""
        self.has_to_be_replaced = True
        self._draining.set()

    async def main(self) -> None:
        """Work until drained. Replaces arq's poll loop.

        Raises:
            StartupError: a product could not start, or the port of the metrics is in use. No turn was taken.
        """
        if self._settings.metrics_port is not None:
            self.probes.bind()
        contain_tasks(asyncio.get_running_loop())
        product_threads.limit = self.max_jobs + outbox_slots(self.max_jobs)
        given_up.limit, given_up.on_too_many = product_threads.limit * PER_SLOT, self.stop_for_a_fault
        await self._products.startup(self._settings.longest_hook_s)
        self._pulse.start()
        try:
            await self._work()
        finally:
            await self._pulse.stop()
            self.probes.close()

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
            dispatch = group.create_task(kept_running("dispatch", self._dispatch.run), name="dispatch")
            await self._draining.wait()
            dispatch.cancel()
            await self._finish_running()
            for task in side:
                task.cancel()

    async def _finish_running(self) -> None:
        logger.info("draining: %d jobs still run here; they have %g s", len(self.tasks), self._settings.drain_s)
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=self._settings.drain_s)
        self.runner.give_back()
        self._dispatch.stop_outbox()
        if self.tasks:
            _, stuck = await asyncio.wait(self.tasks.values(), timeout=GIVE_BACK_S)
            for task in stuck:  # Redis does not answer, so their turns are taken over when their leases end
                task.cancel()

    async def _serve_probes(self) -> None:
        await self.probes.run()

    def _state(self) -> WorkerState:
        """Called in the thread of the pulse, as is the next method."""
        age_s, blocked_s = self._pulse.heartbeat_age_s, self._pulse.blocked_s
        return WorkerState(age_s, blocked_s, self._draining.is_set(), self._dispatch.running(), self._settings.max_jobs)

    def _gauges(self) -> dict[str, float]:
        state = self._state()
        age_s = math.inf if state.heartbeat_age_s is None else state.heartbeat_age_s
        return {
            "turnwire_draining": float(state.is_draining),
            "turnwire_slots": state.slots,
            "turnwire_running_turns": self._dispatch.running_turns,
            "turnwire_running_jobs": state.running_jobs,
            "turnwire_heartbeat_age_seconds": age_s,
            "turnwire_loop_blocked_seconds": state.loop_blocked_s,
        }

    async def _listen_for_cancels(self) -> None:
        await listen(self._cancels, cancels_channel(self._settings.deployment_name), self.runner.look_if_cancelled)

    async def _report_health(self) -> None:
        while True:
            done = self._dispatch
            self.jobs_complete, self.jobs_retried, self.jobs_failed = done.complete, done.retried, done.failed
            try:
                await self.record_health()
            except (RedisError, OSError) as error:
                logger.warning("arq's health key could not be written (%s); trying again", type(error).__name__)
            await asyncio.sleep(HEALTH_S)

    async def close(self) -> None:
        """Close the product's hooks, for 5 s at most, and the connections, for 2 s at most.

        arq's health key stays, because other workers share it.
        """
        await self._products.aclose()
        try:  # this gives back what was claimed and not begun
            entry = (await self.queue.workers()).get(self.id, b"")
            await bury(self._store, self.queue, self.id, entry, None)
        except (StoreUnavailable, RedisError) as error:
            logger.warning("the worker could not take itself off the list of workers: %s", error)
        await disconnect(self._waiting, self._cancels, self._data, self.queue.redis)
        self._pool = None


async def run_turn(ctx: dict[Any, Any], run_id: str) -> None:
    """Hold the place of a turn in arq's table of functions. Dispatch runs turns by itself and never calls this."""
    raise NotImplementedError
