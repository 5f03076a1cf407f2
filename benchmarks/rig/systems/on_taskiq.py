"""taskiq on the Redis Stream broker, the one of its first example; no result backend."""

import asyncio
import os
import sys

from taskiq_redis import RedisStreamBroker

from benchmarks.rig.systems.stamps import drive, stamp_start

broker = RedisStreamBroker(url=os.environ["BENCH_REDIS"])


@broker.task(task_name="job")
async def job(name: str) -> None:
    """Nothing but the stamp."""
    stamp_start(name)


async def enqueue() -> None:
    """The driver."""
    await broker.startup()
    await drive(job.kiq)
    await broker.shutdown()


if __name__ == "__main__":
    if sys.argv[1] == "drive":
        asyncio.run(enqueue())
    else:
        tasks = ["--max-async-tasks", os.environ["BENCH_MAX_JOBS"], "--workers", "1", "--log-level", "WARNING"]
        os.execv(sys.executable, [sys.executable, "-m", "taskiq", "worker", f"{__spec__.name}:broker", *tasks])
