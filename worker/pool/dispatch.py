"""Takes due jobs from the queue for as long as there are free slots, and runs each of them in a task of its own."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from turnwire.shared import keys
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.keys import is_outbox_job, tenant_of
from turnwire.shared.metrics import counter
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.queue import Room, Taken, TurnQueue
from turnwire.shared.store.queue_open import pending_key
from turnwire.worker.attempt.outcome import Again, Done
from turnwire.worker.pool.claims import Claims
from turnwire.worker.pool.hints import Hints
from turnwire.worker.pool.jobs import Jobs
from turnwire.worker.pool.outbox_slots import OutboxSlots

logger = logging.getLogger(__name__)

SHARES: Final = 4  # a worker takes a burst of jobs in so many parts, so that other idle workers get some of it
# With reserved slots, a part has at most so many jobs. When many slots become free at once, the turns that refill them
# begin together, and the turn of a newcomer would stand behind the work of a large part.
RESERVED_PART: Final = 4
ISOLATED_LOOK_S: Final = 1.0  # how often a worker looks that runs suspects, or waits until it is idle
RESERVED_LOOK_S: Final = 1.0  # how often a worker looks that has none but reserved slots
OUTBOX_LOOK_S: Final = 1.0  # how often a worker without a free slot for a turn looks for answers to persist

_DEFECTS: Final = counter("turnwire_defects_total")


class Dispatch:
    """Runs up to `slots` turns at a time, and some jobs of the outbox. `tasks` holds what runs now, by job id."""

    def __init__(
        self, worker_id: str, queue: TurnQueue, hints: Hints, jobs: Jobs, claims: Claims, slots: int, reserved: int = 0
    ) -> None:
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.complete = 0
        self.retried = 0
        self.failed = 0
        self._worker_id = worker_id
        self._queue = queue
        self._hints = hints
        self._jobs = jobs
        self._claims = claims
        self._slots = slots
        self._reserved = reserved  # so many of the slots are for tenants that run nothing here
        self._part = min(max(slots // SHARES, 1), RESERVED_PART if reserved else slots)
        self._reserving = False  # none but reserved slots are free
        self._newcomers: asyncio.Task[None] | None = None
        # The jobs among `tasks` that run no turn, by the list that they are on. They take no turn's slot.
        self._outbox = {pending: OutboxSlots(slots) for pending in (keys.PENDING, keys.CALLBACKS)}
        self._slot_free = asyncio.Event()
        self._room = Room(slots)
        self._look_at_s = 0.0  # when it may look again, so that it costs a busy worker nothing for each turn
        self._retaken: dict[str, Taken] = {}  # jobs to start as soon as the running task of the same job has ended

    def running(self) -> int:
        """Return how many jobs run here. May be called in any thread."""
        return len(self.tasks)

    @property
    def running_turns(self) -> int:
        """How many of them run turns. May be called in any thread."""
        return len(self.tasks) - sum(map(len, self._outbox.values()))

    async def run(self) -> None:
        """Take jobs until cancelled. A cancellation does not stop the jobs that run."""
        try:
            await self._take_on()
        finally:
            self._reserving = False

    async def _take_on(self) -> None:
        await until_answered(self._give_back_lost)
        woken = True  # there may be hints from before this worker started
        while True:
            self._reserving = False
            self._slot_free.clear()
            free = self._slots - self.running_turns
            if free == 0 and self._room.company <= 0:
                await self._persist_meanwhile()
                await self._until_slot_free(OUTBOX_LOOK_S)
                continue
            count = min(free, self._part)
            open_slots = max(free - self._reserved, 0)
            self._room.reserved = max(count - open_slots, 0)
            self._room.busy = {tenant_of(job_id) for job_id in self.tasks} if self._room.reserved else ()
            taken, due_ms = await self._take(count, woken=woken)
            await self._start_or_put_off(taken)
            if self._room.company:
                woken = False  # hints are for those who take any job
                await self._until_slot_free(ISOLATED_LOOK_S)
            elif len(taken) < count and self._room.reserved and len(taken) >= open_slots:
                woken = False  # the other hints are for those who have a slot for any tenant
                await self._until_newcomer_or_slot_free(due_ms)
            elif len(taken) < count:
                woken = await self._hints.wait(due_ms)

    async def _until_slot_free(self, limit_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._slot_free.wait()

    async def _until_newcomer_or_slot_free(self, due_ms: int | None) -> None:
        """Wait until a tenant asks that has nothing waiting, or a slot becomes free, or a job is due.

        A blocking pop that is cancelled costs its connection. So it goes on when a slot becomes free.
        """
        self._reserving = True
        if self._newcomers is None or self._newcomers.done():
            self._newcomers = asyncio.create_task(self._wake_for_newcomer(), name="newcomers")
        await self._until_slot_free(RESERVED_LOOK_S if due_ms is None else min(RESERVED_LOOK_S, due_ms / 1000))

    async def _wake_for_newcomer(self) -> None:
        while self._reserving:
            if await self._hints.newcomer(RESERVED_LOOK_S):
                self._slot_free.set()

    async def _take(self, count: int, *, woken: bool) -> tuple[list[Taken], int | None]:
        self._room.running = len(self.tasks)
        if not self.tasks:
            self._room.company = 0
        was_isolated = self._room.company > 0
        try:
            taken = await self._queue.take(self._worker_id, count, woken=woken, room=self._room)
        except StoreUnavailable:
            taken = await until_answered(self._take_again, count)
        if was_isolated and self._room.company == 0:
            await self._jobs.mingle()
        return taken

    async def _give_back_lost(self) -> None:
        """Give back what this worker has claimed and does not run: a reply was lost, or this loop failed in between."""
        for job_id in await self._queue.owned(self._worker_id):
            if job_id not in self.tasks:
                await self._queue.again(self._worker_id, Taken(job_id, b""))

    async def _take_again(self, count: int) -> tuple[list[Taken], int | None]:
        await self._give_back_lost()
        return await self._queue.take(self._worker_id, count, room=self._room)

    async def _persist_meanwhile(self) -> None:
        """Every slot for turns is taken, maybe for hours: take jobs of the outbox alone."""
        now_s = asyncio.get_running_loop().time()
        if self._room.company or now_s < self._look_at_s:
            return
        self._look_at_s = now_s + OUTBOX_LOOK_S
        for pending, slots in self._outbox.items():
            free = slots.free
            if free <= 0:
                continue
            try:
                reply = await self._queue.take_answers(self._worker_id, free, slots.looked_after, pending)
            except StoreUnavailable:
                await until_answered(self._give_back_lost)
                continue
            taken, slots.looked_after = reply
            if len(taken) == free:  # there may be more, as soon as one of them ends
                self._look_at_s = now_s
            await self._start_or_put_off(taken)

    def stop_outbox(self) -> None:
        """Stop the jobs that persist answers or make callbacks. Another worker tries them again."""
        for slots in self._outbox.values():
            for job_id in slots.job_ids:
                self.tasks[job_id].cancel()

    def _outbox_of(self, job_id: str) -> OutboxSlots:
        return self._outbox[pending_key(job_id)]

    async def _start_or_put_off(self, taken: Sequence[Taken]) -> None:
        """Start these jobs, but put off those of the outbox for which there is no slot, all in one round trip."""
        late: list[Taken] = []
        for job in taken:
            job_id = job.job_id
            if is_outbox_job(job_id) and job_id not in self.tasks and not self._outbox_of(job_id).free:
                late.append(job)
            else:
                self._start(job)
        if late:
            await self._put_off(late)

    async def _put_off(self, late: Sequence[Taken]) -> None:
        again, waiting = self._queue.again, dict.fromkeys(pending_key(job.job_id) for job in late)
        counts = {pending: (await until_answered(self._queue.pending, 0, 0, pending))[0] for pending in waiting}
        delays_ms = [self._outbox_of(job.job_id).put_off_ms(counts[pending_key(job.job_id)]) for job in late]
        gone = (until_answered(again, self._worker_id, job, ms) for job, ms in zip(late, delays_ms, strict=True))
        await asyncio.gather(*gone)

    def _start(self, taken: Taken) -> None:
        job_id = taken.job_id
        if job_id in self.tasks:  # it was given back, or its claim had lapsed, before its task here ended
            self._retaken[job_id] = taken
            return
        self._claims.add(job_id)
        task = asyncio.create_task(self._run(taken, max(self._room.company, 0)), name=f"job {job_id}")
        self.tasks[job_id] = task
        if is_outbox_job(job_id):
            self._outbox_of(job_id).begin(job_id)
        task.add_done_callback(lambda _: self._ended(job_id))

    def _ended(self, job_id: str) -> None:
        del self.tasks[job_id]
        self._outbox_of(job_id).end(job_id)
        self._claims.discard(job_id)
        self._slot_free.set()
        if retaken := self._retaken.pop(job_id, None):
            self._start(retaken)

    async def _run(self, taken: Taken, company: int) -> None:
        try:
            end = await self._jobs.run(taken.job_id, company, self._room.paused)
            await self._claims.release(taken.job_id)
            if isinstance(end, Done):
                self.complete += 1
            elif isinstance(end, Again):
                self.retried += 1
            await self._jobs.finish(taken, end)
        except Exception:  # a bug of ours must not end the worker: the claim lapses, and another worker tries
            self.failed += 1
            _DEFECTS.add()
            logger.exception("%s: the job failed because of a bug in Turnwire; it runs again soon", taken.job_id)
