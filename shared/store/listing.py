"""What only operators ask of the queue Redis: the list of the newest turns, and what each worker has claimed."""

from collections.abc import Sequence

from turnwire.shared import keys
from turnwire.shared.ledger import UsageSums
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.scripts import Script, answered_within, typed_refusals

UNLIST = Script("unlist")


class Listing:
    """Typed access to it. Methods raise StoreUnavailable when Redis does not answer; all of them may be repeated."""

    def __init__(self, queue: TurnQueue) -> None:
        self.redis = queue.redis
        self.timeout_s = queue.timeout_s
        self._courier = Courier(queue.redis, queue.timeout_s)

    async def now_ms(self) -> int:
        """Return the time of the server, in ms."""
        async with answered_within(self.timeout_s):
            seconds, micros = await self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def claimed(self, workers: Sequence[str]) -> dict[str, list[str]]:
        """Return, for each worker, the run ids of the turns whose jobs it has claimed, in order."""
        async with answered_within(self.timeout_s), self.redis.pipeline(transaction=False) as pipe:
            for worker in workers:
                pipe.smembers(keys.claims(worker))
            found = await pipe.execute()
        names = [sorted(job_id.decode() for job_id in job_ids) for job_ids in found]
        turns = [[name for name in jobs if keys.is_run_id(name)] for jobs in names]
        return dict(zip(workers, turns, strict=True))

    async def asked_to_drain(self, workers: Sequence[str]) -> set[str]:
        """Return those of these workers that an operator wants to drain."""
        if not workers:
            return set()
        async with answered_within(self.timeout_s):
            asked = await self.redis.mget([keys.DRAIN_PREFIX + worker for worker in workers])
        return {worker for worker, since in zip(workers, asked, strict=True) if since is not None}

    async def usage(self, after: str, limit: int) -> list[tuple[str, UsageSums]]:
        """Return the sums of at most `limit` tenants whose names come after `after`, by name."""
        async with answered_within(self.timeout_s):
            names = await self.redis.zrangebylex(keys.USED, f"({after}" if after else "-", "+", start=0, num=limit)
            pipe = self.redis.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(keys.usage(name.decode()))
            sums = await pipe.execute() if names else []
        return [(name.decode(), UsageSums.from_hash(fields)) for name, fields in zip(names, sums, strict=True)]

    async def drop(self, run_ids: Sequence[str]) -> None:
        """Take turns that are erased off the list."""
        if run_ids:
            with typed_refusals():
                await self._courier.send("ZREM", keys.LISTED, *run_ids)

    async def unlist(self, gone: Sequence[tuple[str, int]]) -> None:
        """Take turns that do not exist off the list: run ids, and since when (µs) they are on it.

        A turn that was listed anew since stays.
        """
        if gone:
            await UNLIST(self._courier, [keys.LISTED], [part for pair in gone for part in pair])
