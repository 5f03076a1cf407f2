"""Turns and workers as operators see them, without any process."""

from typing import Any

import msgspec

from tests.support.turns import KEY, WORKER, claim, request
from turnwire.shared.keys import TurnKey
from turnwire.shared.store.listing import Listing
from turnwire.shared.worker_entry import WorkerEntry

ENTRY = WorkerEntry(
    host="host", pid=1, version="9", started_at=1, heartbeat=1, at=1, running=1, capacity=4, server="", reserved=1,
    projects=["legal"], pools=["default", "gpu"], events=7,
)  # fmt: skip


async def asked(store, queue, key: TurnKey = KEY, **fields: Any) -> TurnKey:
    await store.submit(key, request(**fields))
    await queue.enqueue(key.run_id)
    return key


async def runs(store, queue, key: TurnKey = KEY, worker: str = WORKER, **fields: Any):
    """Let a worker register, take the turn and have its lease."""
    await asked(store, queue, key, **fields)
    await queue.take(worker, 1)
    claimed = await claim(store, key, worker)
    now_ms = await Listing(queue).now_ms()
    entry = msgspec.json.encode(msgspec.structs.replace(ENTRY, at=now_ms))
    await queue.extend(worker, entry, [key.run_id])
    return claimed
