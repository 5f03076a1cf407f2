"""Real Sentinels fail over while turns stream: no log gets a hole or two answers, and no model is asked again.

SENTINEL_TURNS sets how many turns stream at a time, and SENTINEL_ROUNDS how many failovers there are of each kind.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from chaos import verify
from chaos.client import Answer
from stack.redis_server import RedisServer, server_version
from stack.sentinels import SentinelGroup
from tests.support.scene import Scene, scene
from tests.support.waiting import wait_until

TURNS = int(os.environ.get("SENTINEL_TURNS", "20"))
ROUNDS = int(os.environ.get("SENTINEL_ROUNDS", "1"))
# The lease is longer than any failover here.
ENV = {"TURNWIRE_LEASE_MS": "20000", "TURNWIRE_REDIS_TIMEOUT_S": "1", "TURNWIRE_MAX_JOBS": str(TURNS)}
STREAMED = 10  # deltas of each turn before the failover
PACE_MS = max(20, TURNS // 2)
EVENTS = 8000 // PACE_MS  # so that turns stream for longer than a failover takes
GATE = EVENTS - 5  # nobody gets further before the failover is over
LIMIT_S = 60.0
QUEUE_URL = "TURNWIRE_QUEUE_REDIS_URL"
FIRST_WITH_COORDINATED = "Valkey 9"


async def ordered(group: SentinelGroup) -> None:
    await asyncio.to_thread(group.fail_over)


async def planned(group: SentinelGroup) -> None:
    if server_version() < FIRST_WITH_COORDINATED:
        pytest.skip("this server fails over at once, or not at all")
    await asyncio.to_thread(group.fail_over, coordinated=True)


async def killed(group: SentinelGroup) -> None:
    primary = await asyncio.to_thread(lambda: group.primary)
    primary.kill()
    await asyncio.to_thread(group.wait_switched, primary)
    primary.start()  # it comes back as a primary of its own, until the Sentinels tell it otherwise


@pytest.mark.timeout(180 * ROUNDS)
@pytest.mark.parametrize(
    "fail_over",
    [
        pytest.param(ordered, marks=pytest.mark.long),
        pytest.param(planned, marks=pytest.mark.long),
        killed,
    ],
    ids=lambda kind: kind.__name__,
)
async def test_turns_outlive_a_failover(tmp_path: Path, fail_over: Callable[[SentinelGroup], Awaitable[None]]):
    with SentinelGroup(tmp_path / "redis") as group:
        redis = cast("RedisServer", group)  # all that a stack asks of it is its URL
        queue = {QUEUE_URL: f"{group.url}/1"} if fail_over is ordered else {}
        async with scene(tmp_path, workers=2, env=ENV | queue, redis=redis) as view:
            processes = {service.name: service.pid for service in view.stack.services}
            for _ in range(ROUNDS):
                await one_failover(view, lambda: fail_over(group))
                await asyncio.to_thread(group.wait_whole)
            assert {service.name: service.pid for service in view.stack.services if service.running} == processes


async def one_failover(view: Scene, fail_over: Callable[[], Awaitable[None]]) -> None:
    gate = view.gate()
    shape: dict[str, Any] = {"events": EVENTS, "pace_ms": PACE_MS, "gate": {str(GATE): str(gate)}}
    turns = [view.turn(**shape, stream=number % 2 == 0) for number in range(TURNS)]
    readers = [view.ask(answer, retry=True) for answer in turns]
    await wait_until(lambda: all(answer.deltas() >= STREAMED for answer in turns), "turns that stream", LIMIT_S)
    await fail_over()
    gate.touch()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*readers)
    found = [await verify.check_turn(view.client, view.redis, answer, view.calls(answer)) for answer in turns]
    assert not any(found), "\n".join(text for texts in found for text in texts)
    if QUEUE_URL not in view.stack.worker[0].env:  # otherwise jobs and ledger rows are in another database
        await view.nothing_left()
    assert produced(view, turns) == {1}
    assert {answer.connections for answer in turns} == {1}


def produced(view: Scene, turns: list[Answer]) -> set[Any]:
    return {view.count(answer)["produce"] for answer in turns}
