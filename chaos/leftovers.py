"""Checks that nothing is left in Redis when every turn has ended, and that every attempt was billed exactly once."""

import asyncio
import json
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

from redis.asyncio import Redis

from tests.support.keyleak import find_leaks
from turnwire.shared import keys
from turnwire.shared.keys import TurnKey

LOOK_S = 0.1


async def check_leftovers(
    redis: Redis, queue: Redis | None = None, *, queue_was_lost: bool = False, fails_over: bool = False
) -> list[str]:
    """Check, when every turn has ended, that no job, claim, lease or open turn is left and every turn's keys expire.

    `queue`: the queue's database, if it is another one. `queue_was_lost`: ledger rows that were published on it may be
    missing. `fails_over`: Redis may have lost attempts.
    """
    found = await _left_in(redis) + (await _left_in(queue) if queue else [])
    return found + await check_ledger(redis, queue or redis, queue_was_lost=queue_was_lost, fails_over=fails_over)


async def _left_in(redis: Redis) -> list[str]:
    left = {name: await redis.zrange(name, 0, -1, withscores=True) for name in (keys.QUEUE, keys.OPEN_TURNS)}
    for pattern in ("lease:*", f"{keys.IN_PROGRESS_PREFIX}*", f"{keys.JOB_PREFIX}*", "open:*"):
        left[pattern] = await redis.keys(pattern)
    found = [f"{name} holds {content}" for name, content in left.items() if content]
    return found + await find_leaks(redis)


async def check_ledger(
    redis: Redis, queue: Redis, *, queue_was_lost: bool = False, fails_over: bool = False
) -> list[str]:
    """Check that every attempt of every ended turn has one row, which is on the stream once, in order.

    `queue_was_lost`: rows may be missing on the stream, but none may be there twice. `fails_over`: the stream may also
    have rows of attempts that the turn has lost, because a worker had such a row in its memory and published it.
    """
    published: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for _, fields in await queue.xrange(keys.LEDGER):
        row = json.loads(fields[1])
        published[row["run_id"], row["turn_created_at"]].append(row)
    found = []
    for name in await redis.keys("turn:*"):
        fields = ["created_at", "attempt", "status", "run_id"]
        created_at, attempt, status, run_id = await redis.hmget(name, fields)  # type: ignore[misc]
        if status not in {b"completed", b"failed", b"cancelled"}:
            continue
        kept = await redis.hgetall(TurnKey.parse(run_id.decode()).ledger)  # type: ignore[misc]
        attempts = sorted(map(int, kept))
        rows = published[run_id.decode(), int(created_at)]
        on_stream = [row["attempt"] for row in rows]
        published_well = on_stream == attempts
        if queue_was_lost:
            published_well = len(set(on_stream)) == len(on_stream)
        elif fails_over:
            published_well = on_stream == sorted(set(on_stream)) and set(attempts) <= set(on_stream)
        whole = follow_each_other([0, *attempts]) and attempts[-1:] == [int(attempt)]
        if not whole or not published_well:
            outcomes = [(row["attempt"], row["outcome"]) for row in rows]
            found.append(f"{run_id.decode()}: {len(attempts)} attempts, rows of {sorted(kept)}, published {outcomes}")
        elif rows and rows[-1]["attempt"] == attempts[-1] and rows[-1]["outcome"] != status.decode():
            found.append(f"{run_id.decode()}: it is {status.decode()}, but its last row says {rows[-1]['outcome']}")
    return found


def follow_each_other(attempts: list[int]) -> bool:
    """Return whether no attempt is missing. After a failover or restart of Redis, whole thousands are skipped."""
    return all(after > before and (after - before) % 1000 == 1 for before, after in pairwise(attempts))


async def leftovers(
    redis: Redis,
    limit_s: float,
    queue: Redis | None = None,
    *,
    queue_was_lost: bool = False,
    fails_over: bool = False,
) -> list[str]:
    """Repeat `check_leftovers` until it finds nothing. Returns what it still finds after `limit_s`.

    `fails_over`: Redis may have lost that a turn has left the sweep's list. The sweep looks at a suspended turn only
    minutes later, so all of them become due now.
    """
    if fails_over:
        for database in filter(None, (redis, queue)):
            listed = await database.zrange(keys.OPEN_TURNS, 0, -1)
            if listed:
                await database.zadd(keys.OPEN_TURNS, dict.fromkeys(listed, 0), xx=True)
    deadline_s = time.monotonic() + limit_s
    while True:
        found = await check_leftovers(redis, queue, queue_was_lost=queue_was_lost, fails_over=fails_over)
        if not found or time.monotonic() > deadline_s:
            return found
        await asyncio.sleep(LOOK_S)
