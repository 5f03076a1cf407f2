"""What operators see of the queue: how many jobs wait, and for what; and which answers are not persisted yet."""

from typing import Any, Final

import msgspec

from turnwire.shared import keys

MOST_PROJECTS: Final = 100  # clients choose the names of projects


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


class QueueView(msgspec.Struct, frozen=True):
    """`jobs`: those that wait or run. `open`: turns that have not ended, and answers that are not persisted yet.

    `suspects`: turns that wait for an idle worker, because workers died while they ran them. `unserved`: projects that
    no worker has hooks for, those with the oldest turn first, at most 100. A turn counts for 15 s after the last look.
    """

    jobs: int
    open: int
    suspects: int
    unserved: list[UnservedProject]


async def view_queue(redis: Any) -> QueueView:
    """Read the queue."""
    pipe = redis.pipeline(transaction=False)
    pipe.zcard(keys.QUEUE).zcard(keys.OPEN_TURNS).zcard(keys.SUSPECTS).time()
    pipe.zrange(keys.UNSERVED, 0, -1, withscores=True).hgetall(keys.UNSERVED_SINCE)
    jobs, open_turns, suspects, (seconds, micros), noted, since = await pipe.execute()
    now_ms = seconds * 1000 + micros // 1000
    projects: dict[str, list[int]] = {}
    for run_id, until_ms in noted:
        if until_ms > now_ms and run_id in since:
            since_ms, _, project = since[run_id].partition(b" ")
            projects.setdefault(project.decode(), []).append(int(since_ms))
    unserved = [UnservedProject(name or None, len(times), min(times)) for name, times in projects.items()]
    unserved.sort(key=lambda waiting: waiting.oldest_at)
    return QueueView(jobs, open_turns, suspects, unserved[:MOST_PROJECTS])
