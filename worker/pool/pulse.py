"""The heartbeat of a worker, in a thread of its own: code that blocks the event loop loses nobody a lease.

The thread has its own small event loop and its own connections. It renews every lease and every claim three times in a
lease's time, registers the worker, and watches the other workers. It also watches this process's event loop: a product
that blocks it is named in the log, with the stack of the code that blocks. A loop that stays blocked for longer than
TURNWIRE_BLOCKED_S counts as dead: its leases are no longer renewed, so that other workers take its turns over.

C code that holds Python's global lock for seconds stops this thread, too. Nothing in the process can help there.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import uvloop

from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.metrics import histogram
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect_data_and_queue, connect_listener, disconnect
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.supervision import kept_running
from turnwire.worker.attempt.run import TurnRunner
from turnwire.worker.pool.claims import Claims
from turnwire.worker.pool.liveness import Liveness

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.25  # between two looks at the event loop
WARN_S: Final = 1.0  # a loop that has not run for so long is reported, and again after three times as long
STACK_FRAMES: Final = 12  # of the code that blocks, the innermost ones
STOP_S: Final = 2.0  # how long the end of a worker waits for the thread

_LAG: Final = histogram("turnwire_event_loop_lag_seconds")

EntryMaker = Callable[[Liveness], bytes]  # makes the entry of the next heartbeat, as JSON


class Pulse:
    """Beats from `start` to `stop`: extends `claims`, and registers the worker with what `entry` says of it.

    `entry` and `running`, which tells how many turns run here, are called in the thread. `on_death` is called in the
    event loop if the heartbeat ends by itself, and `on_drain` after each heartbeat that finds that an operator wants
    this worker to drain.
    """

    def __init__(
        self,
        settings: Settings,
        worker_id: str,
        runner: TurnRunner,
        *,
        entry: EntryMaker,
        claims: Claims,
        running: Callable[[], int],
        on_death: Callable[[], None],
        on_drain: Callable[[], None],
        serve: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`serve`: it answers probes in the thread; None: there are none."""
        self._settings = settings
        self._worker_id = worker_id
        self._runner = runner
        self._entry = entry
        self._claims = claims
        self._running = running
        self._on_death = on_death
        self._serve = serve
        self._beat_at_s: float | None = None  # when Redis has taken the last heartbeat
        self._on_drain = on_drain
        self._watched = WatchedLoop()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()  # there is something new to tell
        self._stopping = False
        self._ended = asyncio.Event()  # the thread has ended
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def blocked_s(self) -> float:
        """For how long the event loop has not answered."""
        return self._watched.blocked_s

    @property
    def heartbeat_age_s(self) -> float | None:
        """How long ago Redis has taken the last heartbeat; None: it has taken none."""
        return None if self._beat_at_s is None else time.monotonic() - self._beat_at_s

    def start(self) -> None:
        """Start the thread. Call it in the event loop that the thread shall watch."""
        self._watched.begin()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop the thread; returns when it has closed its connections, or after two seconds."""
        if self._thread is None:
            return
        self._stopping = True
        if self._own_loop is not None:
            with suppress(RuntimeError):  # the thread has ended by itself
                self._own_loop.call_soon_threadsafe(self._stop.set)
        with suppress(TimeoutError):  # not in asyncio's executor: a product may have filled that with hung functions
            async with asyncio.timeout(STOP_S):
                await self._ended.wait()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._beat())
        except BaseException:
            logger.exception("the heartbeat failed; this worker stops, because its leases are no longer renewed")
            self._watched.call(self._on_death)
        finally:
            with suppress(RuntimeError):  # the loop has ended before
                self._watched.call(self._ended.set)

    async def _beat(self) -> None:
        self._own_loop = asyncio.get_running_loop()
        if self._stopping:  # before there was a loop to tell
            return
        settings = self._settings
        data, queue_redis = connect_data_and_queue(settings, connections=1)
        watching = connect_listener(settings.queue_url)
        store, queue = TurnStore(data, settings), TurnQueue(queue_redis, settings)
        liveness = Liveness(watching, store, queue, self._worker_id)

        async def heartbeat() -> None:
            await self._heartbeat(store, queue, liveness)

        async def watch() -> None:
            await liveness.run(self._running, self._hurry.set)

        try:
            async with asyncio.TaskGroup() as group:
                beating = group.create_task(kept_running("heartbeat", heartbeat), name="heartbeat")
                side = [
                    group.create_task(kept_running(name, work), name=name)
                    for name, work in (("liveness", watch), ("watch", self._watched.run), ("probes", self._serve))
                    if work is not None
                ]
                await self._stop.wait()
                for task in side:
                    task.cancel()
                self._hurry.set()
                await asyncio.wait({beating}, timeout=STOP_S)  # no command of ours may arrive after the worker's last
                beating.cancel()
        finally:
            await disconnect(data, queue_redis, watching)

    async def _heartbeat(self, store: TurnStore, queue: TurnQueue, liveness: Liveness) -> None:
        """Beat three times in a lease's time, and at once when there is something new to tell."""
        while not self._stop.is_set():
            self._hurry.clear()
            if self._watched.blocked_s < self._settings.blocked_s:
                await self._renew(store)
                await self._register(queue, liveness)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.lease_ms / 3000):
                    await self._hurry.wait()

    async def _renew(self, store: TurnStore) -> None:
        held = self._runner.held()
        replies = await store.renew_many([claimed for _, claimed in held]) if held else []
        for (attempt, claimed), reply in zip(held, replies, strict=True):
            if reply is not False:  # nothing to tell of an ordinary renewal
                self._watched.call(self._runner.renewed, attempt, claimed, reply)

    async def _register(self, queue: TurnQueue, liveness: Liveness) -> None:
        """Show that this process lives, and keep its claims on jobs."""
        try:
            with self._claims.extending() as job_ids:
                should_drain = await queue.extend(self._worker_id, self._entry(liveness), job_ids)
            self._beat_at_s = time.monotonic()
        except StoreUnavailable as error:
            logger.warning("the heartbeat was not written: %s", error)
            return
        if should_drain:
            self._watched.call(self._on_drain)


class WatchedLoop:
    """The event loop of the process, seen from the pulse's thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self._asked_s = 0.0  # when the loop was asked to answer; 0: it has answered
        self._warn_s = WARN_S

    def begin(self) -> None:
        """Watch the running loop of the calling thread."""
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()

    @property
    def blocked_s(self) -> float:
        """For how long the loop has not answered."""
        asked_s = self._asked_s
        return time.monotonic() - asked_s if asked_s else 0.0

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the loop."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function, *args)

    async def run(self) -> None:
        """Ask the loop to answer, four times a second, and report it when it does not."""
        while True:
            blocked_s = self.blocked_s
            if not blocked_s:
                if self._warn_s > WARN_S:
                    logger.warning("the event loop runs again")
                    self._warn_s = WARN_S
                self._asked_s = time.monotonic()
                self.call(self._answer)
            elif blocked_s > self._warn_s:
                self._warn_s = max(self._warn_s, blocked_s) * 3
                logger.warning("%s", self._report(blocked_s))
            await asyncio.sleep(LOOK_S)

    def _answer(self) -> None:
        _LAG.observe(self.blocked_s)
        self._asked_s = 0.0

    def _report(self, blocked_s: float) -> str:
        assert self._loop is not None
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - the documented way to another thread's stack
        stack = "".join(traceback.format_stack(frame)[-STACK_FRAMES:]) if frame else ""
        name = task.get_name() if task else "a callback"
        return f"the event loop has been blocked for {blocked_s:.1f} s by {name!r}, all turns here wait:\n{stack}"
