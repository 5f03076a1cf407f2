"""Reconciles all turns once nothing is being broken any more."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis

from chaos import verify
from chaos.client import Answer, Client
from chaos.faults import COMPLETED, allowed_ends
from chaos.leftovers import leftovers

AT_ONCE = 8  # how many turns are checked at the same time
LEFTOVERS_LIMIT_S = 20.0


async def reconcile(
    client: Client,
    redis: Redis,
    answers: list[Answer],
    ledger: Path,
    *,
    queue: Redis | None = None,
    queue_was_lost: bool = False,
    clock_stepped: bool = False,
    fails_over: bool = False,
) -> AsyncIterator[str]:
    """Return every violation: in each turn, in the order within sessions, and in what is left in Redis.

    `queue`: the queue's database, if it is another one. `queue_was_lost`: ledger rows that were published on it may be
    missing. `clock_stepped`: the server's clock was stepped, so times do not tell the order. `fails_over`: Redis may
    have lost attempts.
    """
    calls = verify.read_ledger(ledger)
    for first in range(0, len(answers), AT_ONCE):
        some = answers[first : first + AT_ONCE]
        for found in await asyncio.gather(
            *(check_if_there(client, redis, answer, calls[answer.run_id]) for answer in some)
        ):
            for text in found:
                yield text
    # A turn that was not produced was cancelled in the queue, out of order.
    produced = [answer for answer in answers if any(call["call"] == "produce" for call in calls[answer.run_id])]
    records = [record for answer in produced if (record := await record_of(client, answer))]
    again = {answer.run_id for answer in answers if answer.refusals and allowed_ends(answer.metadata) != {COMPLETED}}
    order = [] if clock_stepped else verify.check_order(records, again)
    for text in [*order, *check_identities(calls), *check_indexes(answers)]:
        yield text
    for text in await leftovers(redis, LEFTOVERS_LIMIT_S, queue, queue_was_lost=queue_was_lost, fails_over=fails_over):
        yield text


async def check_if_there(
    client: Client, redis: Redis, answer: Answer, calls: Sequence[verify.ProductCall]
) -> list[str]:
    """Return what is wrong with a turn, also if it cannot be read."""
    try:
        return await verify.check_turn(client, redis, answer, calls)
    except httpx.HTTPError as error:
        return [f"{answer.run_id}: it cannot be read: {error!r}"]


async def record_of(client: Client, answer: Answer) -> dict[str, Any] | None:
    """Return the turn's record, or None if it cannot be read; `check_if_there` reports that."""
    try:
        return await client.record(answer)
    except httpx.HTTPError:
        return None


def check_identities(calls: dict[str, list[verify.ProductCall]]) -> list[str]:
    """Check that each message id belongs to the answer of one turn only."""
    owners: dict[str, set[str]] = {}
    for run_id, listed in calls.items():
        for call in listed:
            if "message_id" in call:
                owners.setdefault(call["message_id"], set()).add(run_id)
    return [f"message {name} is the answer of {sorted(turns)}" for name, turns in owners.items() if len(turns) > 1]


def check_indexes(answers: list[Answer]) -> list[str]:
    """Check that no index of a session was given twice."""
    times = Counter(answer.run_id for answer in answers)
    return [f"{run_id}: the index was given {count} times" for run_id, count in times.items() if count > 1]
