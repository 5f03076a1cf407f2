"""The server of the queue comes back empty: every accepted turn ends, and no running one runs twice."""

import asyncio
from pathlib import Path

from stack.redis_server import RedisServer
from tests.support.scene import scene
from tests.support.waiting import wait_until

TURNS = 20


async def test_turns_are_found_on_the_server_that_has_them(tmp_path: Path):
    with RedisServer(tmp_path / "data") as data, RedisServer(tmp_path / "queue") as queue:
        env = {"TURNWIRE_QUEUE_REDIS_URL": queue.url, "TURNWIRE_LEASE_MS": "3000", "TURNWIRE_MAX_JOBS": str(TURNS)}
        async with scene(tmp_path, env=env, redis=data) as view:
            gate = view.gate()
            running = [view.turn(events=10, gate={"5": str(gate)}) for _ in range(TURNS)]
            readers = [view.ask(answer) for answer in running]
            await wait_until(lambda: all(answer.deltas() == 5 for answer in running), "turns run", 20)
            waiting = [view.turn() for _ in range(TURNS)]
            await view.submit(*waiting)
            queue.kill()
            queue.start()
            gate.touch()
            async with asyncio.timeout(30):
                await asyncio.gather(*readers)
            await view.ended(*waiting, limit_s=40)
            for answer in running + waiting:
                assert await view.status(answer) == "completed"
                assert view.count(answer)["produce"] == 1
