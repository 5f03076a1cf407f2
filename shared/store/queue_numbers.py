"""Reads the numbers of the queue that operators watch. The cost does not grow with the number of jobs."""

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from turnwire.shared import keys
from turnwire.shared.lanes import served_lanes

MOST_TENANTS: Final = 200  # so many of each lane are looked at, those that are served next
IN_LINE_MS: Final = 10_000_000_000_000  # see store/lua/parts/lanes.lua


class Line(msgspec.Struct, frozen=True):
    """The jobs of one tenant that wait in a pool. `oldest_ms`: how long the oldest of them waits."""

    pool: str
    tenant: str
    jobs: int
    oldest_ms: int


class OutboxNumbers(msgspec.Struct, frozen=True):
    """What waits to be told to somebody else. `oldest_ms`: how long the oldest of it waits; 0 if nothing does."""

    jobs: int
    oldest_ms: int


class QueueNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a moment.

    Attributes:
        jobs: all jobs: those that wait, run, or are put off.
        open: entries of the list of open turns, also answers to persist, callbacks and erasures.
        lines: those that were looked at; most of them do, or all.
        waiting: all jobs that wait, also in lines that were not looked at.
        oldest_ms: how long the oldest of those waits; 0 if none waits.
        workers, running, slots: sums over the last heartbeats.
    """

    jobs: int
    open: int
    lines: list[Line]
    waiting: int
    oldest_ms: int
    persist: OutboxNumbers
    callbacks: OutboxNumbers
    suspects: int
    unserved: int
    workers: int
    running: int
    slots: int


class _Entry(msgspec.Struct, frozen=True):
    """What is read of a worker's heartbeat."""

    running: int = 0
    capacity: int = 0
    pools: list[str] = []


async def read_numbers(redis: Any, pools: Collection[str]) -> QueueNumbers:
    """Read the numbers in three round trips. `pools`: those to look at, besides those that workers say they serve."""
    pipe = redis.pipeline(transaction=False)
    pipe.time().zcard(keys.QUEUE).zcard(keys.OPEN_TURNS).zcard(keys.SUSPECTS).hvals(keys.WORKERS)
    for pending in (keys.PENDING, keys.CALLBACKS):
        pipe.zcard(pending).zrange(pending, 0, 0, withscores=True)
    (seconds, micros), jobs, open_jobs, suspects, raw, *outboxes = await pipe.execute()
    now_ms = seconds * 1000 + micros // 1000
    entries = [*_entries(raw)]
    named = sorted({*pools, *(pool for entry in entries for pool in entry.pools)})
    persist, callbacks = (_outbox(outboxes[place], outboxes[place + 1], now_ms) for place in (0, 2))
    waiting, oldest_ms, unserved, tenants = await _waiting(redis, named, now_ms)
    return QueueNumbers(
        jobs=jobs,
        open=open_jobs,
        lines=await _lines(redis, tenants, now_ms),
        waiting=waiting,
        oldest_ms=oldest_ms,
        persist=persist,
        callbacks=callbacks,
        suspects=suspects,
        unserved=unserved,
        workers=len(raw),
        running=sum(entry.running for entry in entries),
        slots=sum(entry.capacity for entry in entries),
    )


async def _waiting(redis: Any, pools: Collection[str], now_ms: int) -> tuple[int, int, int, list[tuple[str, str]]]:
    """Return how many jobs wait, how long the oldest does, how many turns are unserved, and (lane, tenant) of lines.

    The score of a job tells whether it waits in a line, see store/lua/parts/lanes.lua.
    """
    pipe = redis.pipeline(transaction=False)
    pipe.zcount(keys.QUEUE, "-inf", "(0").zcount(keys.QUEUE, 0, now_ms)
    pipe.zrangebyscore(keys.QUEUE, "-inf", "(0", start=0, num=1, withscores=True)
    pipe.zrangebyscore(keys.QUEUE, 0, now_ms, start=0, num=1, withscores=True)
    pipe.zcount(keys.UNSERVED, now_ms, "+inf")
    lanes = served_lanes([*pools])
    for lane in lanes:
        pipe.zrange(keys.TENANTS_PREFIX + lane, 0, MOST_TENANTS - 1)
    in_line, due, first, first_due, unserved, *tenants = await pipe.execute()
    since_ms = [score + IN_LINE_MS for _, score in first] + [score for _, score in first_due]
    oldest_ms = max(int(now_ms - min(since_ms)), 0) if since_ms else 0
    named = [(lane, tenant.decode()) for lane, found in zip(lanes, tenants, strict=True) for tenant in found]
    return in_line + due, oldest_ms, unserved, named


async def _lines(redis: Any, named: Collection[tuple[str, str]], now_ms: int) -> list[Line]:
    if not named:
        return []
    pipe = redis.pipeline(transaction=False)
    for lane, tenant in named:
        waiting = keys.line(lane, tenant)[2]
        pipe.zcard(waiting).zrange(waiting, 0, 0, withscores=True)
    found = await pipe.execute()
    return [
        Line(lane.removesuffix(":batch"), tenant, jobs, max(int(now_ms - first[0][1] // 1000), 0))
        for (lane, tenant), jobs, first in zip(named, found[::2], found[1::2], strict=True)
        if first
    ]


def _outbox(jobs: int, first: Collection[tuple[bytes, float]], now_ms: int) -> OutboxNumbers:
    return OutboxNumbers(jobs, max((int(now_ms - since_us // 1000) for _, since_us in first), default=0))


def _entries(raw: Iterable[bytes]) -> Iterable[_Entry]:
    for entry in raw:
        try:
            yield msgspec.json.decode(entry, type=_Entry)
        except msgspec.MsgspecError:  # another version has written it
            yield _Entry()
