"""The queue Redis: arq's queue, written by our own scripts in arq's own format, so that arq's tools go on working."""

import secrets
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec
from arq.jobs import serialize_job
from redis.asyncio import Redis

from turnwire.shared import keys
from turnwire.shared.ledger import UsageSums, encode_counted
from turnwire.shared.settings import Settings
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.scripts import Arg, Script, answered_within

ANNOUNCE = Script("announce")
BURY = Script("bury")
DUE = Script("due")
ENQUEUE = Script("enqueue")
EXTEND = Script("extend")
FINISH = Script("finish")
FORGET = Script("forget")
OWNED = Script("owned")
POSTPONE = Script("postpone")
TAKE = Script("take", repeat=False)  # it does not hand out again what the lost reply named: see TurnWorker

RUN_TURN = "run_turn"  # the names of arq's functions
PERSIST_TURN = "persist_turn"
ANNOUNCED_MS = 5_000  # a turn that was announced, but has no job after so long, is looked at
JOB_TTL_MS = 86_400_000  # arq's own: the sweep puts a turn back whose job expired
_NO_LIMIT = 2**53
_JOBS = [keys.OPEN_TURNS, keys.QUEUE, keys.HINTS]
MAX_ROWS = 500  # ledger rows at the end of one job: so many ends in a row would have to fail before one is missed
SWEEP_MS = 15_000  # an open turn that nobody touched for so long is looked at


Rows: TypeAlias = Mapping[int, bytes]


def encode_job(job: dict[str, Any]) -> bytes:
    """Arq's job_serializer: msgpack, never pickle."""
    return msgspec.msgpack.encode(job)


def decode_job(data: bytes) -> dict[str, Any]:
    """Arq's job_deserializer."""
    job: dict[str, Any] = msgspec.msgpack.decode(data)
    return job


class Pending(msgspec.Struct, frozen=True):
    """An answer that the product has not stored yet. `since`: when it was put off, µs, unlike that of any other."""

    run_id: str
    since_us: int
    next_try_ms: int | None  # when its job is due; while a try runs, when that claim ends


class Taken(msgspec.Struct, frozen=True):
    """A job that this worker claimed. `job` is its serialized form, empty if it had expired."""

    run_id: str
    job: bytes


class TurnQueue:
    """Typed access to the queue.

    Methods raise StoreUnavailable when Redis does not answer; all but `take` may be repeated.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis: Any = redis  # redis-py's own annotations do not pass a strict checker
        self._settings = settings
        self._timeout_s = settings.redis_timeout_s
        self._courier = Courier(redis, settings.redis_timeout_s)

    async def enqueue(self, run_id: str, *, accepted: bool = False) -> bool:
        """Make sure that a worker will look at the turn; False if its job waits already.

        The queue's limit does not count for a turn that was `accepted` before.

        Raises:
            QueueFull: nothing was written.
        """
        return await self._enqueue(RUN_TURN, run_id, accepted=accepted, listed=False)

    async def enqueue_persist(self, run_id: str) -> bool:
        """Make sure that a worker will go on persisting the turn's answer; False if the job waits already."""
        return await self._enqueue(PERSIST_TURN, keys.persist_id(run_id), accepted=True, listed=True)

    async def _enqueue(self, function: str, job_id: str, *, accepted: bool, listed: bool) -> bool:
        job = serialize_job(
            function,
            (job_id,),
            {"nonce": secrets.token_hex(4)},  # a job enqueued again while it runs differs, so it runs again
            None,
            time.time_ns() // 1_000_000,
            serializer=encode_job,
        )
        limit = _NO_LIMIT if accepted else self._settings.max_queued
        return bool(
            await ENQUEUE(
                self._courier,
                [*_JOBS, keys.job(job_id), keys.in_progress(job_id), keys.PENDING],
                [job_id, job, JOB_TTL_MS, limit, SWEEP_MS, int(listed)],
            )
        )

    async def take(self, worker: str, count: int, *, woken: bool = True) -> tuple[list[Taken], int | None]:
        """Claim up to `count` due jobs for a lease's time, in one round trip. `woken`: a hint was popped before.

        The one call that must not just be repeated after StoreUnavailable: `owned` tells what the lost one claimed.

        Returns: the jobs, and in how many ms the next one falls due (None: there is none).
        """
        args: list[Arg] = [worker, self._settings.lease_ms, count, int(woken), keys.JOB_PREFIX, keys.IN_PROGRESS_PREFIX]
        wait_ms, *jobs = await TAKE(self._courier, [keys.QUEUE, keys.HINTS], args)
        taken = [Taken(run_id.decode(), job) for run_id, job in zip(jobs[::2], jobs[1::2], strict=True)]
        return taken, None if wait_ms < 0 else wait_ms

    async def extend(self, worker: str, entry: bytes, run_ids: Sequence[str]) -> set[str]:
        """The heartbeat: register the worker with `entry`, extend its claims on these jobs.

        Returns: the run ids whose claim another worker has.
        """
        args: list[Arg] = [worker, entry, self._settings.lease_ms, SWEEP_MS, keys.IN_PROGRESS_PREFIX, *run_ids]
        names = [keys.QUEUE, keys.OPEN_TURNS, keys.WORKERS]
        return {run_id.decode() for run_id in await EXTEND(self._courier, names, args)}

    async def workers(self) -> dict[str, bytes]:
        """Worker id -> the entry of its last heartbeat."""
        async with answered_within(self._timeout_s):
            return {worker.decode(): entry for worker, entry in (await self.redis.hgetall(keys.WORKERS)).items()}

    async def owned(self, worker: str) -> list[str]:
        """The run ids that a worker has claimed."""
        reply = await OWNED(self._courier, [keys.QUEUE], [worker, keys.IN_PROGRESS_PREFIX])
        return [run_id.decode() for run_id in reply]

    async def bury(self, worker: str, entry: bytes, run_ids: Sequence[str]) -> bool:
        """Take a dead worker off the list and make its jobs due; False if it registered again since `entry`."""
        args: list[Arg] = [worker, entry, keys.IN_PROGRESS_PREFIX, *run_ids]
        names = [keys.WORKERS, keys.QUEUE, keys.HINTS]
        return bool(await BURY(self._courier, names, args))

    async def announce(self, run_id: str) -> str:
        """Before a turn is written: the sweep looks at it if no job follows. Returns a mark for `forget`."""
        reply = await ANNOUNCE(self._courier, [keys.OPEN_TURNS], [run_id, ANNOUNCED_MS])
        return str(reply.decode())

    async def forget(self, run_id: str, mark: str) -> None:
        """Take an announcement back, or end the sweep's interest in a turn; an empty mark changes nothing."""
        if mark:
            names = [keys.OPEN_TURNS, keys.PENDING, keys.billed(run_id)]
            await FORGET(self._courier, names, [run_id, mark, self._settings.retention_ms])

    async def due(self, limit: int = 100) -> tuple[list[tuple[str, str]], int | None]:
        """Open turns that somebody should look at: (run id, mark). Each is handed out once in a while only.

        Returns: them, and in how many ms the next one falls due (None: there is none).
        """
        wait_ms, *due = await DUE(self._courier, [keys.OPEN_TURNS], [limit, SWEEP_MS])
        marked = [(run_id.decode(), mark.decode()) for run_id, mark in zip(due[::2], due[1::2], strict=True)]
        return marked, None if wait_ms < 0 else wait_ms

    async def pending(self, after_us: int, limit: int) -> tuple[int, list[Pending]]:
        """How many answers are not persisted yet; at most `limit` of those put off after `after_us`, oldest first."""
        async with answered_within(self._timeout_s):
            pipe = self.redis.pipeline(transaction=False)
            pipe.zcard(keys.PENDING)
            pipe.zrangebyscore(keys.PENDING, f"({after_us}", "+inf", start=0, num=limit, withscores=True)
            count, found = await pipe.execute()
            due_ms = await self.redis.zmscore(keys.QUEUE, [job_id for job_id, _ in found]) if found else []
        return count, [
            Pending(job_id.decode().removeprefix(keys.PERSIST_PREFIX), int(since), None if due is None else int(due))
            for (job_id, since), due in zip(found, due_ms, strict=True)
        ]

    async def postpone(self, run_id: str, delay_ms: int) -> None:
        """The sweep need not look at an open turn before `delay_ms`."""
        await POSTPONE(self._courier, [keys.OPEN_TURNS], [run_id, delay_ms])

    async def usage(self, tenant: str) -> UsageSums:
        """The sums of the tenant's published ledger rows."""
        async with answered_within(self._timeout_s):
            return UsageSums.from_hash(await self.redis.hgetall(keys.usage(tenant)))

    async def end(self, worker: str, taken: Taken, rows: Rows = MappingProxyType({})) -> None:
        """The turn has ended: remove its job, unless it was enqueued again meanwhile.

        `rows` are the turn's ledger rows by attempt, here and below: what of them is not on the stream yet goes there.
        """
        await self._finish(worker, taken, "ended", "", rows)

    async def park(
        self, worker: str, taken: Taken, look_ms: int | None = None, rows: Rows = MappingProxyType({})
    ) -> None:
        """Something else will enqueue the turn again: remove its job, keep it among the open turns.

        The sweep looks at it after `look_ms`; None: when it would have.
        """
        await self._finish(worker, taken, "parked", "" if look_ms is None else look_ms, rows)

    async def again(self, worker: str, taken: Taken, delay_ms: int = 0, rows: Rows = MappingProxyType({})) -> None:
        """Give the job back: any worker may take it after `delay_ms`."""
        await self._finish(worker, taken, "again", delay_ms, rows)

    async def _finish(self, worker: str, taken: Taken, outcome: str, delay_ms: int | str, rows: Rows) -> None:
        run_id, settings = taken.run_id, self._settings
        tenant = keys.TurnKey.parse(run_id).session.tenant if rows else keys.DEFAULT_TENANT
        latest = [rows[attempt] for attempt in sorted(rows)[-MAX_ROWS:]]
        counted = [part for row in latest for part in (row, encode_counted(row))]
        await FINISH(
            self._courier,
            [
                *_JOBS, keys.job(run_id), keys.in_progress(run_id), keys.PENDING,
                keys.billed(run_id), keys.LEDGER, keys.usage(tenant),
            ],
            [run_id, worker, taken.job, outcome, delay_ms, settings.retention_ms, settings.ledger_rows, *counted],
        )  # fmt: skip
