"""What the queue in Redis and the one in memory have of a job and of the lanes, in a form in which they compare."""

from dataclasses import dataclass
from typing import Any

import msgspec
from redis import Redis

from turnwire.shared import keys
from turnwire.shared.replies import Watched
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.queue_workers import SWEEP_MS
from turnwire.testing.memory_lanes import by_score
from turnwire.testing.queue_memory import QueueMemory


def row(attempt: int) -> bytes:
    """A ledger row, with the fields that the queue looks at first."""
    return (
        b'{"attempt":%d,"turn_created_at":7,"partial":false,"model_calls":1,"tokens_in":2,"tokens_out":null,'
        b'"cost_nanos":5,"currency":"EUR","price_version":null,"model_called":null,"first_event_ms":null,'
        b'"first_token_ms":null,"run_id":"chat:demo:0","session_id":"demo","tenant_id":"default",'
        b'"outcome":"handover","code":null,"project":null,"user":null,"model":null,"turn_index":0,"started_at":7,'
        b'"ended_at":8,"wall_ms":1}'
    ) % attempt


@dataclass
class Seen:
    """The data that a queue has of one job. `job`: its bytes, which are never the same in two queues."""

    job: bytes | None
    queued: bool
    due: bool
    in_line: bool
    holder: str | None
    looked_at: str | None  # when the sweep looks at it
    listed: bool
    lane: str | None


def when(ms: float | None, now_ms: float) -> str | None:
    """Roughly: the clocks of two queues differ."""
    if ms is None:
        return None
    return "now" if ms <= now_ms else "soon" if ms <= now_ms + SWEEP_MS + 1 else "later"


async def watched(queue: TurnQueue, worker: str) -> list[Watched]:
    """What a worker sees of its neighbour and of all others, but for the server's name."""
    return [msgspec.structs.replace(await queue.watch(worker, count), server="") for count in (1, -1)]


def in_redis(redis: Redis, names: list[str]) -> list[Seen]:
    """All of them in one round trip: after every action all are looked at."""
    pipe: Any = redis.pipeline(transaction=False)
    pipe.time().mget(map(keys.job, names)).mget(map(keys.in_progress, names))
    pipe.zmscore(keys.QUEUE, names).zmscore(keys.OPEN_TURNS, names).zmscore(keys.PENDING, names)
    pipe.mget([keys.LANE_PREFIX + name for name in names])
    (now_s, now_us), *found = pipe.execute()
    now_ms = now_s * 1000 + now_us // 1000
    return [
        Seen(
            job,
            score is not None,
            when(score, now_ms) == "now",
            score is not None and score < 0,
            holder and holder.decode(),
            when(look, now_ms),
            listed is not None,
            lane and lane.decode(),
        )
        for job, holder, score, look, listed, lane in zip(*found, strict=True)
    ]


def in_memory(memory: QueueMemory, name: str) -> Seen:
    now_ms, score = memory.now_ms, memory.scores.get(name)
    return Seen(
        memory.job(name),
        score is not None,
        when(score, now_ms) == "now",
        score is not None and score < 0,
        memory.holder(name),
        when(memory.looks.get(name), now_ms),
        name in memory.pending,
        memory.lanes.of_job.get(name),
    )


LaneSeen = tuple[dict[str, float], dict[str, float], dict[str, list[str]]]  # tenants, debts, lines


def lane_in_redis(redis: Any, lane: str, tenants: list[str]) -> LaneSeen:
    """The virtual starts of a lane, and the jobs of each line in their order."""
    pipe: Any = redis.pipeline(transaction=False)
    pipe.zrange(keys.TENANTS_PREFIX + lane, 0, -1, withscores=True)
    pipe.zrange(keys.DEBTS_PREFIX + lane, 0, -1, withscores=True)
    for tenant in tenants:
        pipe.zrange(keys.line(lane, tenant)[2], 0, -1)
    starts, debts, *lines = pipe.execute()
    return (
        {name.decode(): start for name, start in starts},
        {name.decode(): start for name, start in debts},
        {tenant: [job.decode() for job in line] for tenant, line in zip(tenants, lines, strict=True) if line},
    )


def lane_in_memory(memory: QueueMemory, lane: str) -> LaneSeen:
    known = memory.lanes.lane(lane)
    lines = {tenant: [job_id for job_id, _ in by_score(line)] for tenant, line in known.lines.items() if line}
    return dict(known.tenants), dict(known.debts), lines
