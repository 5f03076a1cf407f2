"""What operators see of the queue: how many jobs wait, where, and for what; and which answers are not persisted yet."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from turnwire.shared import keys
from turnwire.shared.lanes import Lane, Priority

MOST_PROJECTS: Final = 100  # clients choose the names of projects
MOST_TENANTS: Final = 1000  # so many lines of a lane are looked at
MOST_LINES: Final = 100


class Pending(msgspec.Struct, frozen=True):
    """An answer that the product has not persisted yet."""

    run_id: str
    since_us: int  # when it was put off; no two answers have the same time
    next_try_ms: int | None  # when its job is due; during a try, when the claim on the job ends


class UnservedProject(msgspec.Struct, frozen=True):
    """Turns that wait for a worker with hooks for their `project`, or null. `oldest_at`: since when, Redis time, ms."""

    project: str | None
    turns: int
    oldest_at: int


class Line(msgspec.Struct, frozen=True):
    """Jobs of a tenant that wait in a lane. `oldest_at`: since when the first of them waits, Redis time, ms."""

    pool: str
    tenant: str
    priority: Priority
    waiting: int
    oldest_at: int


class PausedName(msgspec.Struct, frozen=True):
    """A tenant or a project whose turns do not start. `since`: Redis time, ms."""

    kind: Literal["tenant", "project"]
    name: str
    since: int


class QueueView(msgspec.Struct, frozen=True):
    """`jobs`: those that wait or run. `open`: turns that have not ended, and answers that are not persisted yet.

    `suspects`: turns that wait for an idle worker, because workers died while they ran them. `unserved`: projects that
    no worker has hooks for, those with the oldest turn first, at most 100. A turn counts for 15 s after the last look.
    `lines`: those with the oldest job first, at most 100. `now`: Redis time, ms.
    """

    now: int
    jobs: int
    open: int
    suspects: int
    unserved: list[UnservedProject]
    paused: list[PausedName]
    lines: list[Line]


async def view_queue(redis: Any, pools: Sequence[str]) -> QueueView:
    """Read the queue, and the lines of these pools."""
    pipe = redis.pipeline(transaction=False)
    pipe.zcard(keys.QUEUE).zcard(keys.OPEN_TURNS).zcard(keys.SUSPECTS).time()
    pipe.zrange(keys.UNSERVED, 0, -1, withscores=True).hgetall(keys.UNSERVED_SINCE).hgetall(keys.PAUSED)
    jobs, open_turns, suspects, (seconds, micros), noted, since, paused = await pipe.execute()
    now_ms = seconds * 1000 + micros // 1000
    projects: dict[str, list[int]] = {}
    for run_id, until_ms in noted:
        if until_ms > now_ms and run_id in since:
            since_ms, _, project = since[run_id].partition(b" ")
            projects.setdefault(project.decode(), []).append(int(since_ms))
    unserved = [UnservedProject(name or None, len(times), min(times)) for name, times in projects.items()]
    unserved.sort(key=lambda waiting: waiting.oldest_at)
    lines = await _lines(redis, pools)
    return QueueView(now_ms, jobs, open_turns, suspects, unserved[:MOST_PROJECTS], read_paused(paused), lines)


def read_paused(fields: dict[bytes, bytes]) -> list[PausedName]:
    """Read the hash of what is paused."""
    found: list[PausedName] = []
    for field, since in sorted(fields.items()):
        kind, _, name = field.decode(errors="replace").partition(":")
        if since.isdigit() and kind in {"tenant", "project"}:
            found.append(PausedName("tenant" if kind == "tenant" else "project", name, int(since)))
    return found


async def _lines(redis: Any, pools: Sequence[str]) -> list[Line]:
    """Return the lines with the oldest jobs, among those of the tenants that are served next."""
    priorities: tuple[Priority, ...] = ("interactive", "batch")
    lanes = [Lane(pool, priority) for priority in priorities for pool in pools]
    pipe = redis.pipeline(transaction=False)
    for lane in lanes:
        pipe.zrange(keys.TENANTS_PREFIX + lane.name, 0, MOST_TENANTS - 1)
    found = [
        (lane, tenant.decode()) for lane, tenants in zip(lanes, await pipe.execute(), strict=True) for tenant in tenants
    ]
    for lane, tenant in found:
        waiting = keys.line(lane.name, tenant)[2]
        pipe.zcard(waiting).zrange(waiting, 0, 0, withscores=True)
    replies = await pipe.execute() if found else []
    lines = [
        Line(lane.pool, tenant, lane.priority, count, int(first[0][1]) // 1000)
        for (lane, tenant), count, first in zip(found, replies[::2], replies[1::2], strict=True)
        if first
    ]
    return sorted(lines, key=lambda line: line.oldest_at)[:MOST_LINES]
