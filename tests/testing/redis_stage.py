"""The same worker as in run_turn, but over a real Redis: what the kit says is compared with what happens there."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from turnwire.shared import keys
from turnwire.shared.keys import TurnKey, session_key
from turnwire.shared.model import Claimed
from turnwire.shared.request import TurnRequest
from turnwire.shared.settings import Settings
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.testing.faults import Faults, Mode, WorkerLife, faults_at
from turnwire.testing.life import Life, Unharmed, write
from turnwire.testing.observed import Observations
from turnwire.testing.worker import LoneWorker
from turnwire.worker.pool.sweep import Sweep

KEY = session_key("test").turn(0)


def mortal(method: Any) -> Any:
    """`write`, for a method of a class that knows nothing of lives."""
    return write(method)


class MortalStore(TurnStore):
    """The store on Redis, whose writes go through a worker's life."""

    life: Life = Unharmed()

    claim = mortal(TurnStore.claim)
    checkpoint = mortal(TurnStore.checkpoint)
    suspend = mortal(TurnStore.suspend)
    rewind = mortal(TurnStore.rewind)
    settle = mortal(TurnStore.settle)
    handover = mortal(TurnStore.handover)
    keep_step = mortal(TurnStore.keep_step)
    try_to_persist = mortal(TurnStore.try_to_persist)
    persist_failed = mortal(TurnStore.persist_failed)
    persisted = mortal(TurnStore.persisted)

    async def append_many(self, appends: Sequence[tuple[Claimed, int, Sequence[bytes]]]) -> list[Exception | None]:
        return [await self._appended(append) for append in appends]

    async def _appended(self, one: tuple[Claimed, int, Sequence[bytes]]) -> Exception | None:
        try:
            await self.append(one)
        except Exception as error:
            return error
        return None

    @write
    async def append(self, one: tuple[Claimed, int, Sequence[bytes]]) -> None:
        [error] = await super().append_many([one])
        if error is not None:
            raise error


class MortalQueue(TurnQueue):
    """The queue on Redis, the same way."""

    life: Life = Unharmed()

    enqueue_persist = mortal(TurnQueue.enqueue_persist)
    end = mortal(TurnQueue.end)
    park = mortal(TurnQueue.park)
    again = mortal(TurnQueue.again)


class RedisStage:
    """Runs one turn on Redis. Where the kit moves its clock, the keys that wait for time are changed."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis: Any = redis
        self.settings = settings
        self.store, self.queue = TurnStore(redis, settings), TurnQueue(redis, settings)
        self.seen = Observations()
        self.faults = Faults()
        self.workers = 0

    def _worker(self, hooks: Any) -> LoneWorker:
        self.workers += 1
        life = WorkerLife(self.faults)
        store, queue = MortalStore(self.redis, self.settings), MortalQueue(self.redis, self.settings)
        store.life = queue.life = life
        return LoneWorker(f"worker/{self.workers}", hooks, store, queue, life, self.seen)

    async def run(self, hooks: Any, message: str, signals: Mapping[str, Any], faults: dict[str, Any], **fields: Any):
        modes: dict[str, Mode] = {"crash_before": "before", "crash_after": "after", "lose_reply": "lost"}
        for option, mode in modes.items():
            self.faults.left += faults_at(mode, faults.get(option))
        await self.store.submit(KEY, TurnRequest(message=message, **fields))
        await self.queue.enqueue(KEY.run_id)
        await self._run_what_is_due(hooks)
        for name, payload in signals.items():
            signalled = await self.store.signal(KEY, name, msgspec.json.encode(payload))
            if signalled.enqueue:
                await self.queue.enqueue(KEY.run_id, accepted=True)
            await self._run_what_is_due(hooks)

    async def _run_what_is_due(self, hooks: Any) -> None:
        worker = self._worker(hooks)
        while await self.redis.zcard(keys.QUEUE):
            if worker.dead:
                worker = self._worker(hooks)
            taken, _ = await worker.queue.take(worker.id, 1)
            if not taken:
                await self._let_time_pass(KEY)
                continue
            async with worker.at_work():
                await worker.run(taken[0])

    async def _let_time_pass(self, key: TurnKey) -> None:
        """Make the jobs that are claimed or wait due now, and end the leases of the dead."""
        for job_id in await self.redis.zrange(keys.QUEUE, 0, -1):
            await self.redis.delete(keys.in_progress(job_id.decode()), key.lease)
            await self.redis.zadd(keys.QUEUE, {job_id: 1})
        if await self.redis.hexists(key.record, "persist_at"):
            await self.redis.hset(key.record, "persist_at", 1)

    async def time_out(self, hooks: Any) -> None:
        """The time of the signal that the turn waits for is up."""
        await self.redis.hset(KEY.record, "deadline", 1)
        await self.redis.zadd(keys.OPEN_TURNS, {KEY.run_id: 1})
        await Sweep(self.store, self.queue, "sweeper").once()
        await self._run_what_is_due(hooks)
