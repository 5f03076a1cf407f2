"""saq with a higher concurrency than its default of 10; no result is kept."""

import asyncio
import os
import sys
from typing import Any

import uvloop
from saq import Queue, Worker

from benchmarks.rig.systems.stamps import drive, stamp_start


async def job(_: dict[str, Any], *, name: str) -> None:
    """Nothing but the stamp."""
    stamp_start(name)


async def main(role: str) -> None:
    """Both roles."""
    queue = Queue.from_url(os.environ["BENCH_REDIS"])
    await queue.connect()
    if role == "drive":
        await drive(lambda name: queue.enqueue("job", name=name, ttl=-1))
        await queue.disconnect()
    else:
        await Worker(queue, [job], concurrency=int(os.environ["BENCH_MAX_JOBS"])).start()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(sys.argv[1]))
