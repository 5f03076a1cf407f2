"""Turnwire: its own `python -m worker` runs the turns; here one write submits and enqueues each, as the API does it."""

import asyncio
import os

from benchmarks.rig.systems.stamps import drive
from turnwire.shared.keys import TurnKey
from turnwire.shared.request import TurnRequest
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore


async def main() -> None:
    """A session per turn: the turns of one session run one after the other."""
    settings = Settings(redis_url=os.environ["BENCH_REDIS"], redis_connections=32)
    redis = connect(settings.redis_url, connections=settings.redis_connections)
    store, queue, request = TurnStore(redis, settings), TurnQueue(redis, settings), TurnRequest(message="go")

    async def submit(run_id: str) -> None:
        await store.submit(TurnKey.parse(run_id), request, job=queue.planned(run_id))

    await drive(submit)
    await redis.aclose(close_connection_pool=True)


if __name__ == "__main__":
    asyncio.run(main())
