"""Fills a queue again whose server has lost its data, or the last of it.

Turns and their jobs may be on two servers. If the queue's server comes back empty, or fails over to a replica that
lagged, nobody would look at the turns whose jobs were lost. The queue therefore names the lineage of the server that
it was filled in. Where that is another one, or is missing, one worker reads all turns and lets the sweep look at those
that should have a job.
"""

import asyncio
import logging
from typing import Final

from redis.exceptions import NoPermissionError

from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore

logger = logging.getLogger(__name__)

ANNOUNCED_TOGETHER: Final = 200  # so that Redis can serve other clients in between


class Rebuild:
    """Looks whether the queue has to be rebuilt, and rebuilds it. It does nothing if both are on one server."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        self._store = store
        self._queue = queue
        settings = store.settings
        # On one server, a turn and its job are lost together.
        self._is_needed = settings.queue_url != settings.redis_url

    async def if_needed(self) -> int:
        """Rebuild the queue if its server has lost data. Returns how many jobs the sweep will look at.

        Raises:
            StoreUnavailable: one of the servers does not answer. The next call begins anew.
        """
        if not self._is_needed or (lineage := await self._queue.lost_lineage()) is None:
            return 0
        try:
            count = await self._announce_all()
        except NoPermissionError as error:
            logger.warning("the queue cannot be rebuilt, because Redis refuses SCAN (%s): lost turns stay lost", error)
            self._is_needed = False
            return 0
        await self._queue.keep_lineage(lineage)
        logger.warning("the server of the queue is another one, or lost its data: looked for %d turns again", count)
        return count

    async def _announce_all(self) -> int:
        count, cursor = 0, None
        while cursor != 0:
            cursor, job_ids = await self._store.open_jobs(cursor or 0)
            for first in range(0, len(job_ids), ANNOUNCED_TOGETHER):
                page = job_ids[first : first + ANNOUNCED_TOGETHER]
                await asyncio.gather(*(self._queue.announce(job_id) for job_id in page))
            count += len(job_ids)
        return count
