"""Workers without a product, for the benchmark of what a pool does beside its turns.

Each of them sends heartbeats, watches its neighbours and takes part in the sweep with Turnwire's own code, on
connections of its own. Some first take jobs, and keep their claims on them.

    python -m benchmarks.rig.simulated_workers <Redis URL> <workers> <claims of each>
"""

import asyncio
import os
import sys
import uuid
from contextlib import suppress

import uvloop

from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect, connect_listener
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.pool.entry import OwnEntry
from turnwire.worker.pool.liveness import Liveness
from turnwire.worker.pool.sweep import Sweep


async def work(settings: Settings, worker: str, claims: int, ready: asyncio.Semaphore) -> None:
    """Act as one worker until cancelled."""
    redis = connect(settings.redis_url, connections=1)
    store, queue = TurnStore(redis, settings), TurnQueue(redis, settings)
    liveness = Liveness(connect_listener(settings.redis_url), store, queue, worker)
    entry = OwnEntry(claims, lambda: claims)
    hurry = asyncio.Event()
    taken, _ = await queue.take(worker, claims)
    held = [job.job_id for job in taken]
    assert len(held) == claims, "there are not enough jobs"

    async def beat() -> None:
        while True:
            hurry.clear()
            await queue.extend(worker, entry.next(liveness.server), held)
            if liveness.server:
                ready.release()
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.lease_ms / 3000):
                    await hurry.wait()

    await asyncio.gather(beat(), liveness.run(lambda: claims, hurry.set), Sweep(store, queue, worker).run())


async def main(url: str, workers: int, claims: int) -> None:
    """Act as all workers until the process is killed."""
    settings = Settings(redis_url=url)
    ready = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            worker = f"host/{os.getpid()}/{uuid.uuid4().hex[:12]}"
            group.create_task(work(settings, worker, claims, ready))
            await asyncio.sleep(0.5 / workers)  # so that they do not all look at the same moment
        for _ in range(workers):
            await ready.acquire()
        print("ready", flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
