"""arq as it comes; BENCH_POLL and BENCH_MAX_JOBS are the two settings that people change. No result is kept."""

import asyncio
import os
import sys
from typing import Any

import arq
import uvloop
from arq.connections import RedisSettings

from benchmarks.rig.systems.stamps import drive, stamp_start

REDIS = RedisSettings.from_dsn(os.environ["BENCH_REDIS"])


async def job(_: dict[str, Any], name: str) -> None:
    """Nothing but the stamp."""
    stamp_start(name)


async def enqueue() -> None:
    """The driver."""
    redis = await arq.create_pool(REDIS)
    await drive(lambda name: redis.enqueue_job("job", name, _job_id=name))
    await redis.aclose()


if __name__ == "__main__":
    uvloop.install()
    if sys.argv[1] == "drive":
        asyncio.run(enqueue())
    else:
        poll, max_jobs = float(os.environ["BENCH_POLL"]), int(os.environ["BENCH_MAX_JOBS"])
        settings = {"functions": [job], "redis_settings": REDIS, "poll_delay": poll, "max_jobs": max_jobs}
        arq.run_worker({**settings, "keep_result": 0})
