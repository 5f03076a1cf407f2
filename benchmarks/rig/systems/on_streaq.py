"""streaq, with uvloop as its documentation offers; no result is kept."""

import asyncio
import os
import sys

from streaq import Worker

from benchmarks.rig.systems.stamps import drive, stamp_start

worker: Worker = Worker(
    redis_url=os.environ["BENCH_REDIS"],
    concurrency=int(os.environ["BENCH_MAX_JOBS"]),
    anyio_kwargs={"use_uvloop": True},
)


@worker.task(ttl=0)
async def job(name: str) -> None:
    """Nothing but the stamp."""
    stamp_start(name)


async def enqueue() -> None:
    """The driver."""

    async def one(name: str) -> None:
        await job.enqueue(name)

    async with worker:
        await drive(one)


if __name__ == "__main__":
    if sys.argv[1] == "drive":
        asyncio.run(enqueue())
    else:
        worker.run_sync()
