"""The server of the queue comes back empty. Every accepted turn ends, and no running turn runs twice."""

import asyncio
import subprocess
import sys
from pathlib import Path

from chaos.leftovers import leftovers
from stack.cluster import ROOT
from stack.redis_server import RedisServer
from tests.support.scene import Scene, scene
from tests.support.waiting import LOAD_S, wait_until
from turnwire.shared import keys
from turnwire.shared.store.connect import connect, disconnect

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


def rebuild_queue(view: Scene) -> "subprocess.CompletedProcess[str]":
    """Ask for a rebuild as an operator does, with the settings of the worker."""
    argv = [sys.executable, "-m", "worker", "rebuild-queue"]
    env = view.stack.worker[0].env
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


async def test_an_operator_can_have_it_rebuilt(tmp_path: Path):
    """Here only keys are lost, and the server's data keeps its lineage, so no worker notices it by itself."""
    with RedisServer(tmp_path / "data") as data, RedisServer(tmp_path / "queue") as server:
        env = {"TURNWIRE_QUEUE_REDIS_URL": server.url, "TURNWIRE_LEASE_MS": "3000"}
        queue = connect(server.url, connections=2)
        async with scene(tmp_path, env=env, redis=data) as view:
            [worker] = view.stack.worker
            ended, waiting = view.turn(), view.turn()
            await view.ask(ended)
            await wait_until(lambda: queue.xlen(keys.LEDGER), "the ledger row")
            filled_in = await wait_until(lambda: queue.get(keys.FILLED_IN), "the first look of the sweep")
            worker.pause()
            await view.submit(waiting)
            await queue.flushall()
            await queue.set(keys.FILLED_IN, filled_in)
            done = await asyncio.to_thread(rebuild_queue, view)
            worker.resume()
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines() == [
                "1 jobs that there should be: a worker looks at each within 10 s",
                "1 ended turns whose ledger rows were missing: published",
            ]
            await view.ended(waiting, limit_s=40)
            assert await leftovers(view.redis, LOAD_S, queue) == []
            assert view.count(waiting)["produce"] == view.count(ended)["produce"] == 1
            server.kill()
            done = await asyncio.to_thread(rebuild_queue, view)
            assert done.returncode == 1
            assert "the queue was not rebuilt" in done.stderr
            server.start()
        await disconnect(queue)
