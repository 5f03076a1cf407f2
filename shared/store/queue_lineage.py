"""The lineages of data for which the queue is complete; see worker/pool/rebuild.py."""

import secrets
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from turnwire.shared import keys
from turnwire.shared.settings import Settings
from turnwire.shared.store.connection import LINEAGE
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.retention import Retention
from turnwire.shared.store.scripts import Arg, Script, answered_within, typed_refusals

LOST_LINEAGE = Script("lost_lineage", lineage=True)

REBUILD_MS = 60_000  # after this time, another worker may begin to rebuild the queue


class QueueLineage:
    """Tells whether the queue's server may have lost jobs. It holds the connection of the queue."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis: Any = redis  # redis-py's own annotations do not pass a strict checker
        self._settings = settings
        self.timeout_s = settings.redis_timeout_s
        self._courier = Courier(redis, settings.redis_timeout_s)
        self._retention = Retention(settings)
        self._id = secrets.token_hex(8)

    async def lost_lineage(self, turns_lineage: str, lock_ms: int = REBUILD_MS) -> str | None:
        """Return the lineage of the queue's data if this caller should rebuild the queue, or None.

        It should if the queue was never filled, was filled in another lineage, or from turns of another lineage.

        Args:
            turns_lineage: that of the turns' data; empty if they are on the server of the queue.
            lock_ms: after this time, another caller may begin.
        """
        args: list[Arg] = [LINEAGE, turns_lineage, self._id, lock_ms]
        names = [keys.FILLED_IN, keys.FILLED_FROM, keys.REBUILDING]
        lineage = await LOST_LINEAGE(self._courier, names, args)
        return lineage.decode() or None

    async def unpublished(self, run_ids: Sequence[str]) -> list[str]:
        """Return the turns without any published ledger row, as far as the queue knows. All of `run_ids` have ended."""
        if not run_ids:
            return []
        async with answered_within(self.timeout_s), self.redis.pipeline(transaction=False) as pipe:
            for run_id in run_ids:
                pipe.exists(keys.billed(run_id))
            known = await pipe.execute()
        return [run_id for run_id, is_known in zip(run_ids, known, strict=True) if not is_known]

    async def keep_lineage(self, lineage: str, turns_lineage: str) -> None:
        """Note that the queue is complete in this lineage, for the turns of the other."""
        with typed_refusals():
            if turns_lineage:
                await self._courier.send("SET", keys.FILLED_FROM, turns_lineage)
            await self._courier.send("SET", keys.FILLED_IN, lineage)
            await self._courier.send("DEL", keys.REBUILDING)
