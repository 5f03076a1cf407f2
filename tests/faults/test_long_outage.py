"""Redis is away for longer than a lease. The workers live, so no other worker takes their turns over."""

import asyncio
from pathlib import Path

from stack.redis_server import RedisServer
from tests.support.scene import scene
from tests.support.waiting import let_pass, wait_until

TURNS = 50
LEASE_MS = 1500
AWAY_S = 4.0


async def test_running_turns_keep_their_workers(tmp_path: Path):
    with RedisServer(tmp_path / "redis") as server:
        env = {"TURNWIRE_LEASE_MS": str(LEASE_MS)}
        async with scene(tmp_path, workers=2, env=env, redis=server) as view:
            turns = [view.turn(events=60, pace_ms=30) for _ in range(TURNS)]
            readers = [view.ask(answer) for answer in turns]
            await wait_until(lambda: all(answer.deltas() > 2 for answer in turns), "turns run", 20)
            server.pause()
            await let_pass(AWAY_S)
            server.resume()
            async with asyncio.timeout(30):
                await asyncio.gather(*readers)
            assert {view.count(answer)["produce"] for answer in turns} == {1}
            await view.check(*turns)
