"""Fills a queue again whose server has lost its data, or the last of it.

Turns and their jobs may be on two servers. If the queue's server comes back empty, or fails over to a replica that
lagged, nobody would look at the turns whose jobs were lost. The queue therefore names the lineage of the server that
it was filled in. Where that is another one, or is missing, one worker reads all turns. It lets the sweep look at those
that should have a job, and publishes the ledger rows of ended turns that are not on the stream any more.

`python -m worker rebuild-queue` does the same when an operator asks for it.
"""

import asyncio
import logging
from typing import Final, NamedTuple

from redis.exceptions import NoPermissionError

from turnwire.shared.keys import ERASURE_PREFIX
from turnwire.shared.store.erasures import Erasures
from turnwire.shared.store.queue import Taken, TurnQueue
from turnwire.shared.store.reads import TurnsPage
from turnwire.shared.store.turns import TurnStore

logger = logging.getLogger(__name__)

TOGETHER: Final = 200  # so that Redis can serve other clients in between
REBUILDER: Final = "rebuild"  # the name under which rows are published; no worker has it


class Rebuilt(NamedTuple):
    """What a rebuild has found."""

    announced: int = 0  # jobs that the sweep will look at
    published: int = 0  # ended turns whose ledger rows were published


class Rebuild:
    """Looks whether the queue has to be rebuilt, and rebuilds it."""

    def __init__(self, store: TurnStore, queue: TurnQueue, erasures: Erasures | None = None) -> None:
        self._store = store
        self._erasures = erasures
        self._queue = queue
        settings = store.settings
        # On one server, a turn and its job are lost together.
        self._is_needed = settings.queue_url != settings.redis_url

    async def if_needed(self) -> Rebuilt:
        """Rebuild the queue if its server has lost data. It does nothing if turns and jobs are on one server.

        Raises:
            StoreUnavailable: one of the servers does not answer. The next call begins anew.
        """
        if not self._is_needed or (lineage := await self._queue.lost_lineage()) is None:
            return Rebuilt()
        try:
            rebuilt = await self.now()
        except NoPermissionError as error:
            logger.warning("the queue cannot be rebuilt, because Redis refuses SCAN (%s): lost turns stay lost", error)
            self._is_needed = False
            return Rebuilt()
        await self._queue.keep_lineage(lineage)
        logger.warning(
            "the server of the queue is another one, or lost its data: the sweep looks at %d jobs again, and the "
            "ledger rows of %d turns were published", *rebuilt,
        )  # fmt: skip
        return rebuilt

    async def now(self) -> Rebuilt:
        """Rebuild the queue, whatever its server has lost. It is safe at any time, also while turns run.

        Raises:
            StoreUnavailable: one of the servers does not answer.
            NoPermissionError: Redis refuses SCAN.
        """
        erasures = await self._erasures.kept() if self._erasures is not None else []
        for erasure_id in erasures:
            await self._queue.announce(ERASURE_PREFIX + erasure_id)
        announced, published, page = len(erasures), 0, TurnsPage(-1, [], [])
        while page.next_cursor != 0:
            page = await self._store.page_of_turns(max(page.next_cursor, 0))
            for job_ids in _parts(page.job_ids):
                await asyncio.gather(*map(self._queue.announce, job_ids))
            for run_ids in _parts(page.ended):
                published += await self._publish(await self._queue.unpublished(run_ids))
            announced += len(page.job_ids)
        return Rebuilt(announced, published)

    async def _publish(self, run_ids: list[str]) -> int:
        """Publish the ledger rows of ended turns. A turn that was asked again meanwhile keeps its job."""
        if not run_ids:
            return 0
        found = [
            (run_id, rows) for run_id, rows in zip(run_ids, await self._store.rows_of(run_ids), strict=True) if rows
        ]
        await asyncio.gather(*(self._queue.park(REBUILDER, Taken(run_id, b""), rows=rows) for run_id, rows in found))
        return len(found)


def _parts(ids: list[str]) -> list[list[str]]:
    return [ids[first : first + TOGETHER] for first in range(0, len(ids), TOGETHER)]
