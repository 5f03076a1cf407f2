"""arq's own health check works on our workers."""

import asyncio
import os
import sys

from stack.cluster import ROOT
from tests.support.product import Scripted
from tests.support.waiting import wait_until
from turnwire.shared.keys import QUEUE
from turnwire.worker.pool.turn_worker import TurnWorker
from turnwire.worker.products import Products


async def check(redis_url: str) -> int:
    argv = ["-m", "arq", "--check", "turnwire.worker.arq_check.WorkerSettings"]
    env = {**os.environ, "TURNWIRE_REDIS_URL": redis_url}
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, env=env, cwd=ROOT)
    return await process.wait()


async def test_arq_check_tells_whether_a_worker_runs(redis, redis_url, settings):
    assert await check(redis_url) == 1
    worker = TurnWorker(settings, Products({None: Scripted()}))
    running = asyncio.create_task(worker.main())
    try:
        await wait_until(lambda: redis.exists(f"{QUEUE}:health-check"), "the health key")
        assert await check(redis_url) == 0
    finally:
        worker.drain()
        await running
        await worker.close()
