"""The queue Redis: arq's queue. Our own scripts write it in arq's format, so that arq's tools still work.

A job id names a turn in one of two ways. `chat:…`, which is the turn's run id, runs the turn; `persist:chat:…` persists
the answer of a turn that has ended.
"""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import msgspec
from redis.asyncio import Redis

from turnwire.shared import keys
from turnwire.shared.lanes import DEFAULT_LANE, Lane, read_pools, served_lanes
from turnwire.shared.ledger import UsageSums
from turnwire.shared.settings import Settings
from turnwire.shared.store.attempts import ASIDE_MS
from turnwire.shared.store.named_rows import named_rows_key
from turnwire.shared.store.planned_job import PlannedJob, planned_job
from turnwire.shared.store.queue_open import OpenTurns, billed_key, pending_key
from turnwire.shared.store.queue_view import Pending, QueueView, view_queue
from turnwire.shared.store.scripts import Arg, Script, answered_within
from turnwire.shared.worker_entry import read_entry

ENQUEUE = Script("enqueue")
FINISH = Script("finish")
HASTEN = Script("hasten")
HOLD = Script("hold")
NOTE_UNSERVED = Script("note_unserved")
SET_ASIDE = Script("set_aside")
TAKE_ANSWERS = Script("take_answers", repeat=False)
TAKE = Script("take", repeat=False)  # a repeat does not return the jobs that a lost reply named: see Dispatch

RUN_TURN = "run_turn"  # the names of arq's functions
PERSIST_TURN = "persist_turn"
TELL_ERASURE = "tell_erasure"
TELL_CALLBACK = "tell_callback"
_NO_LIMIT = 2**53
_JOBS = [keys.OPEN_TURNS, keys.QUEUE, keys.HINTS]
_PREFIXES = [
    keys.JOB_PREFIX, keys.IN_PROGRESS_PREFIX, keys.LANE_PREFIX, keys.TENANTS_PREFIX, keys.DEBTS_PREFIX,
    keys.WAITING_PREFIX, keys.AGEING_PREFIX, keys.WEIGHT_PREFIX, keys.HELD_PREFIX,
]  # fmt: skip
IN_LINE_MS = 10_000_000_000_000  # what is taken from the score of a job that waits in a line; parts/lanes.lua
MAX_ROWS = 500  # per job: rows are lost only if 500 attempts in a row end without their job being finished
UNSERVED_MS = 15_000  # a turn counts as unserved for so long after the last look at it, which is due every 5 s
LOOK = 200  # pending answers in one call of `take_answers`

Rows: TypeAlias = Mapping[int, bytes]  # attempt -> ledger row, as JSON


class Taken(msgspec.Struct, frozen=True):
    """A job that this worker has claimed."""

    job_id: str
    job: bytes  # its serialized form, empty if that had expired


class Room(msgspec.Struct):
    """What a worker has room for. `take` decides, and writes `company`.

    `company`: 0 if the worker takes any jobs; n if it runs nothing but suspects, at most n at a time; -1 if it takes
    nothing until it is idle, because suspects wait. `reserved`: so many of the jobs that it takes now are only for
    tenants that are not `busy` there. `paused`: the fields of what was paused at the last `take`, which writes it.
    """

    slots: int = 1  # how many suspects it can run at a time
    running: int = 0
    company: int = 0
    reserved: int = 0
    busy: Collection[str] = ()
    paused: frozenset[str] = frozenset()


class TurnQueue(OpenTurns):
    """Typed access to the queue.

    Methods raise StoreUnavailable when Redis does not answer. All of them may then be repeated, except `take`.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        super().__init__(redis, settings)
        self._pools = read_pools(settings.pools)
        self._served: list[Arg] = [settings.batch_age_ms, len(self._pools), *served_lanes(self._pools)]

    async def enqueue(
        self, run_id: str, *, accepted: bool = False, lane: Lane = DEFAULT_LANE, weight: float | None = None
    ) -> bool:
        """Make sure that a worker will look at the turn. Returns False if its job waits already.

        Args:
            run_id: of the turn.
            accepted: the turn was accepted before, so the limit of the queue does not apply to it.
            lane: of the turn.
            weight: how many turns its tenant may run while another one runs one; None: this caller does not know.

        Raises:
            QueueFull: too many turns wait. Nothing was written.
        """
        limit = _NO_LIMIT if accepted else self._settings.max_queued
        return await self._enqueue(run_id, planned_job(RUN_TURN, run_id, limit, lane, weight))

    def planned(self, run_id: str, *, lane: Lane = DEFAULT_LANE, weight: float | None = None) -> PlannedJob:
        """Return the job that `enqueue` would write, for a submit that writes it itself; see TurnStore.submit."""
        return planned_job(RUN_TURN, run_id, self._settings.max_queued, lane, weight)

    async def enqueue_persist(self, run_id: str, *, lane: Lane = DEFAULT_LANE) -> bool:
        """Make sure that a worker will persist the turn's answer. Returns False if the job for it waits already.

        `lane`: of the turn.
        """
        job_id = keys.persist_id(run_id)
        return await self._enqueue(job_id, planned_job(PERSIST_TURN, job_id, _NO_LIMIT, lane, None), is_pending=True)

    async def enqueue_erasure(self, job_id: str, pool: str) -> bool:
        """Make sure that a worker of this pool will tell the product of an erasure. Returns False if its job waits."""
        return await self._enqueue(job_id, planned_job(TELL_ERASURE, job_id, _NO_LIMIT, Lane(pool), None))

    async def enqueue_callback(self, run_id: str, *, lane: Lane = DEFAULT_LANE) -> bool:
        """Make sure that a worker will tell the client's server of the turn. Returns False if its job waits."""
        job_id = keys.CALLBACK_PREFIX + run_id
        return await self._enqueue(job_id, planned_job(TELL_CALLBACK, job_id, _NO_LIMIT, lane, None), is_pending=True)

    async def _enqueue(self, job_id: str, job: PlannedJob, *, is_pending: bool = False) -> bool:
        names, args = [*job.names, pending_key(job_id)], [job_id, keys.tenant_of(job_id), int(is_pending), *job.args]
        return bool(await ENQUEUE(self._courier, names, args))

    async def hasten(self, job_id: str) -> bool:
        """Make a job due at once that was put off. Returns False if it was not, or if a worker has claimed it."""
        names = [keys.QUEUE, keys.HINTS, keys.in_progress(job_id), keys.LANE_PREFIX + job_id]
        return bool(await HASTEN(self._courier, names, [job_id]))

    async def take(
        self, worker: str, count: int, *, woken: bool = True, room: Room | None = None
    ) -> tuple[list[Taken], int | None]:
        """Claim up to `count` due jobs in one round trip, each for the time of a lease.

        This call must not simply be repeated after StoreUnavailable. `owned` tells which jobs the lost call claimed.

        Args:
            worker: the id of the worker that claims.
            count: how many jobs to claim at most.
            woken: the caller has popped a hint.
            room: what the worker has room for; changed here. None: it is idle, and has one slot.

        Returns: the jobs, and in how many ms the next one is due (None: there is none).
        """
        room = Room() if room is None else room
        args: list[Arg] = [worker, self._settings.lease_ms, count, int(woken), room.slots, room.running, room.company]
        names = [
            keys.QUEUE, keys.HINTS, keys.claims(worker), keys.SUSPECTS, keys.ISOLATING, keys.CLEARING, keys.WORKERS,
            keys.BEAT, keys.GRACE, keys.RESERVING, keys.PAUSED, *map(keys.hints, self._pools),
        ]  # fmt: skip
        reply = await TAKE(self._courier, names, [*args, *_PREFIXES, room.reserved, " ".join(room.busy), *self._served])
        wait_ms, room.company, paused, *jobs = reply
        if jobs:
            room.paused = frozenset(field.decode(errors="replace") for field in paused)
        taken = [Taken(job_id.decode(), job) for job_id, job in zip(jobs[::2], jobs[1::2], strict=True)]
        return taken, None if wait_ms < 0 else wait_ms

    async def take_answers(
        self, worker: str, count: int, after: int, pending: str = keys.PENDING
    ) -> tuple[list[Taken], int]:
        """Claim up to `count` due jobs that persist answers. Like `take`, this call must not simply be repeated.

        It looks at some pending answers only: those after `after`, which the last call returned (0: begin with the
        oldest). With CALLBACKS as `pending`, it looks at callbacks. Returns the jobs, and `after` for the next call.
        """
        reply = await TAKE_ANSWERS(
            self._courier,
            [keys.QUEUE, pending, keys.claims(worker)],
            [worker, self._settings.lease_ms, count, after, LOOK, keys.JOB_PREFIX, keys.IN_PROGRESS_PREFIX],
        )
        next_after, *jobs = reply
        taken = [Taken(job_id.decode(), job) for job_id, job in zip(jobs[::2], jobs[1::2], strict=True)]
        return taken, int(next_after)

    async def pending(self, after_us: int, limit: int, pending: str = keys.PENDING) -> tuple[int, list[Pending]]:
        """List the answers that are not persisted yet, or the callbacks if `pending` is CALLBACKS, oldest first.

        Returns: how many there are, and at most `limit` of those that were put off after `after_us`.
        """
        async with answered_within(self.timeout_s):
            pipe = self.redis.pipeline(transaction=False)
            pipe.zcard(pending)
            pipe.zrangebyscore(pending, f"({after_us}", "+inf", start=0, num=limit, withscores=True)
            count, found = await pipe.execute()
            due_ms = await self.redis.zmscore(keys.QUEUE, [job_id for job_id, _ in found]) if found else []
        return count, [
            Pending(keys.run_id_of(job_id.decode()).removeprefix(keys.CALLBACK_PREFIX), int(since), _due_ms(due))
            for (job_id, since), due in zip(found, due_ms, strict=True)
        ]

    async def note_unserved(self, run_id: str, project: str, waited_ms: int) -> None:
        """Let operators see that the turn waits for a worker with hooks for its project ('': it names none)."""
        names = [keys.UNSERVED, keys.UNSERVED_SINCE]
        await NOTE_UNSERVED(self._courier, names, [run_id, project, waited_ms, UNSERVED_MS])

    async def view(self, pools: Iterable[str] = ()) -> QueueView:
        """Return what operators see of the queue. `pools`: whose lines they see, beside those of living workers."""
        entries = [entry for raw in (await self.workers()).values() if (entry := read_entry(raw)) is not None]
        served = {pool for entry in entries for pool in entry.pools}
        async with answered_within(self.timeout_s):
            return await view_queue(self.redis, sorted({keys.DEFAULT_POOL, *pools, *served}))

    async def usage(self, tenant: str) -> UsageSums:
        """Return the sums of the tenant's published ledger rows."""
        async with answered_within(self.timeout_s):
            return UsageSums.from_hash(await self.redis.hgetall(keys.usage(tenant)))

    async def end(self, worker: str, taken: Taken, rows: Rows = MappingProxyType({})) -> None:
        """Remove the job, because the turn has ended; but if the job was enqueued again meanwhile, it runs again.

        Here and in the next two methods, `rows` are the turn's ledger rows. Those that are not on the stream yet are
        published.
        """
        await self._finish(worker, taken, "ended", "", rows)

    async def park(
        self, worker: str, taken: Taken, look_ms: int | None = None, rows: Rows = MappingProxyType({})
    ) -> None:
        """Remove the job, because something else will enqueue the turn again. The turn stays an open one.

        The sweep looks at it in `look_ms`; with None, it looks when it would have looked anyway.
        """
        await self._finish(worker, taken, "parked", "" if look_ms is None else look_ms, rows)

    async def again(self, worker: str, taken: Taken, delay_ms: int = 0, rows: Rows = MappingProxyType({})) -> None:
        """Give the job back. Any worker may take it in `delay_ms`."""
        await self._finish(worker, taken, "again", delay_ms, rows)

    async def set_aside(self, worker: str, taken: Taken, limit: int) -> None:
        """Give a suspect back, for a worker that is idle and then runs at most `limit` jobs, all of them suspects."""
        job_id = taken.job_id
        names = [
            keys.QUEUE, keys.HINTS, keys.in_progress(job_id), keys.claims(worker), keys.SUSPECTS, keys.WORKERS,
            keys.LANE_PREFIX + job_id,
        ]  # fmt: skip
        await SET_ASIDE(self._courier, names, [job_id, worker, limit, ASIDE_MS])

    async def hold(self, worker: str, taken: Taken, field: str, since_us: int) -> None:
        """Give a job back whose turn does not start while something is paused. `field`: see `lanes.paused_field`."""
        job_id = taken.job_id
        names = [
            keys.QUEUE, keys.HINTS, keys.in_progress(job_id), keys.claims(worker), keys.LANE_PREFIX + job_id,
            keys.PAUSED, keys.HELD_PREFIX + field,
        ]  # fmt: skip
        await HOLD(self._courier, names, [job_id, worker, field, since_us])

    async def _finish(self, worker: str, taken: Taken, outcome: str, delay_ms: int | str, rows: Rows) -> None:
        job_id, settings = taken.job_id, self._settings
        # Only the job of a turn has rows, so its id is the run id. For another job, the tenant's sums are not touched.
        session = keys.TurnKey.parse(job_id).session if rows else keys.SessionKey(keys.DEFAULT_TENANT, "")
        latest = [rows[attempt] for attempt in sorted(rows)[-MAX_ROWS:]]
        await FINISH(
            self._courier,
            [
                *_JOBS, keys.job(job_id), keys.in_progress(job_id), pending_key(job_id),
                billed_key(job_id), keys.LEDGER, keys.usage(session.tenant), keys.claims(worker),
                keys.LANE_PREFIX + job_id, keys.OWN_OPEN_PREFIX + keys.tenant_of(job_id), named_rows_key(session),
                keys.ROW_INDEX, keys.USED,
            ],
            [
                job_id, keys.other_job(job_id), worker, taken.job, outcome, delay_ms,
                self._retention.of_job_ms(job_id), settings.ledger_rows, settings.session_retention_ms, *latest,
            ],
        )  # fmt: skip


def _due_ms(score: float | None) -> int | None:
    """When a job is due, or since when it waits, by its score in the queue."""
    if score is None:
        return None
    return int(score if score >= 0 else score + IN_LINE_MS)
