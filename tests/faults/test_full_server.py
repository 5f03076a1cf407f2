"""Redis has no memory left for longer than a lease. Workers keep the turns that they run."""

import asyncio

from tests.support.scene import Scene, scene
from tests.support.waiting import let_pass, wait_until

TURNS = 20
LEASE_MS = 1000
FULL_S = 4.0


async def test_running_turns_keep_their_workers(tmp_path):
    async with scene(tmp_path, workers=2, env={"TURNWIRE_LEASE_MS": str(LEASE_MS)}) as view:
        turns = [view.turn(events=60, pace_ms=30) for _ in range(TURNS)]
        readers = [view.ask(answer) for answer in turns]
        await wait_until(lambda: all(answer.deltas() > 2 for answer in turns), "turns run", 20)
        await view.redis.config_set("maxmemory", 1)
        await let_pass(FULL_S)
        assert await leases(view) == TURNS
        await view.redis.config_set("maxmemory", 0)
        async with asyncio.timeout(30):
            await asyncio.gather(*readers)
        assert {view.count(answer)["produce"] for answer in turns} == {1}
        await view.check(*turns)


async def leases(view: Scene) -> int:
    return len(await view.redis.keys("lease:*"))
