"""The queue Redis: arq's queue, written by our own scripts in arq's own format, so that arq's tools go on working."""

import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from arq.jobs import serialize_job
from redis.asyncio import Redis

from shared import keys
from shared.scripts import Arg, Script
from shared.settings import Settings

ENQUEUE = Script("enqueue")
EXTEND = Script("extend")
FINISH = Script("finish")
TAKE = Script("take")

RUN_TURN = "run_turn"  # the name of arq's function
JOB_TTL_MS = 86_400_000  # arq's own: the sweep puts a turn back whose job expired
SWEEP_MS = 15_000  # an open turn that nobody touched for so long is looked at


def encode_job(job: dict[str, Any]) -> bytes:
    """Arq's job_serializer: msgpack, never pickle."""
    return msgspec.msgpack.encode(job)


def decode_job(data: bytes) -> dict[str, Any]:
    """Arq's job_deserializer."""
    job: dict[str, Any] = msgspec.msgpack.decode(data)
    return job


class Taken(msgspec.Struct, frozen=True):
    """A job that this worker claimed. `job` is its serialized form, empty if it had expired."""

    run_id: str
    job: bytes


class TurnQueue:
    """Typed access to the queue. Methods raise StoreUnavailable when Redis does not answer; all may be repeated."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis: Any = redis  # redis-py's own annotations do not pass a strict checker
        self._settings = settings
        self._timeout_s = settings.redis_timeout_s

    async def enqueue(self, run_id: str, *, max_queued: int | None = None) -> bool:
        """Make sure that a worker will look at the turn; False if its job waits already.

        `max_queued` overrides the limit of the settings: a turn that was accepted before is never refused.

        Raises:
            QueueFull: nothing was written.
        """
        job = serialize_job(
            RUN_TURN,
            (run_id,),
            {"nonce": secrets.token_hex(4)},  # a job enqueued again while it runs differs, so it runs again
            None,
            time.time_ns() // 1_000_000,
            serializer=encode_job,
        )
        limit = self._settings.max_queued if max_queued is None else max_queued
        return bool(
            await ENQUEUE(
                self.redis,
                [keys.OPEN_TURNS, keys.QUEUE, keys.HINTS, keys.job(run_id), keys.in_progress(run_id)],
                [run_id, job, JOB_TTL_MS, limit, SWEEP_MS],
                timeout_s=self._timeout_s,
            )
        )

    async def take(self, worker: str, count: int) -> tuple[list[Taken], int | None]:
        """Claim up to `count` due jobs for a lease's time, in one round trip.

        Returns: the jobs, and in how many ms the next one falls due (None: there is none).
        """
        args: list[Arg] = [worker, self._settings.lease_ms, count, keys.JOB_PREFIX, keys.IN_PROGRESS_PREFIX]
        wait_ms, *jobs = await TAKE(self.redis, [keys.QUEUE, keys.HINTS], args, timeout_s=self._timeout_s)
        taken = [Taken(run_id.decode(), job) for run_id, job in zip(jobs[::2], jobs[1::2], strict=True)]
        return taken, None if wait_ms < 0 else wait_ms

    async def extend(self, worker: str, run_ids: Sequence[str]) -> set[str]:
        """Extend the claims on these jobs. Returns the run ids whose claim another worker has."""
        args: list[Arg] = [worker, self._settings.lease_ms, SWEEP_MS, keys.IN_PROGRESS_PREFIX, *run_ids]
        lost = await EXTEND(self.redis, [keys.QUEUE, keys.OPEN_TURNS], args, timeout_s=self._timeout_s)
        return {run_id.decode() for run_id in lost}

    async def end(self, worker: str, taken: Taken) -> None:
        """The turn has ended: remove its job, unless it was enqueued again meanwhile."""
        await self._finish(worker, taken, "ended")

    async def park(self, worker: str, taken: Taken) -> None:
        """Something else will enqueue the turn again: remove its job, keep it among the open turns."""
        await self._finish(worker, taken, "parked")

    async def again(self, worker: str, taken: Taken, delay_ms: int = 0) -> None:
        """Give the job back: any worker may take it after `delay_ms`."""
        await self._finish(worker, taken, "again", delay_ms)

    async def _finish(self, worker: str, taken: Taken, outcome: str, delay_ms: int = 0) -> None:
        run_id = taken.run_id
        await FINISH(
            self.redis,
            [keys.OPEN_TURNS, keys.QUEUE, keys.HINTS, keys.job(run_id), keys.in_progress(run_id)],
            [run_id, worker, taken.job, outcome, delay_ms],
            timeout_s=self._timeout_s,
        )
