"""The replica that takes over lacks the last writes of the primary. No log gets a gap, and nothing runs again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.failover import Pair, scene_behind
from tests.support.scene import Scene
from tests.support.waiting import let_pass, wait_until

LEASE_S = 3.0
TURNS = 60
LOST_S = 0.4  # for how long writes are not replicated before the failover


@pytest.fixture
async def view(pair: Pair, tmp_path: Path) -> AsyncIterator[Scene]:
    env = {"TURNWIRE_LEASE_MS": str(int(LEASE_S * 1000))}
    async with scene_behind(pair, tmp_path, workers=2, env=env) as view:
        yield view


@pytest.mark.parametrize(
    "away_s", [0, pytest.param(1.5 * LEASE_S, marks=pytest.mark.long)], ids=["at once", "longer than a lease"]
)
async def test_turns_that_stream_write_again_what_was_lost(view: Scene, pair: Pair, away_s: float):
    gate = view.gate()  # no turn may end before the failover, because the replica would then lack the turn's answer
    turns = [
        view.turn(events=500, pace_ms=20, gate={"490": str(gate)}, stream=number % 2 == 0) for number in range(TURNS)
    ]
    readers = [view.ask(answer, retry=True) for answer in turns]
    await wait_until(lambda: all(answer.deltas() > 10 for answer in turns), "turns run", 30)
    await pair.synced()
    pair.link.set("hold")
    await let_pass(LOST_S)
    shown = [answer.deltas() for answer in turns]
    pair.first.kill()
    await let_pass(away_s)
    await pair.fail_over()
    gate.touch()
    async with asyncio.timeout(60):
        await asyncio.gather(*readers)
    assert sum(shown) > TURNS * 11  # clients had seen events that were lost
    await view.check(*turns)
    assert {view.count(answer)["produce"] for answer in turns} == {1}
    log = "".join(service.log() for service in view.stack.worker)
    assert log.count("they are written again") > TURNS // 2
