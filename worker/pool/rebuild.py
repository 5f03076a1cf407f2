"""Fills a queue again after a server has lost its data, or the last of it.

If the queue's server comes back empty, or fails over to a replica that lagged, nobody would look at the turns whose
jobs were lost. It is the same if the server of the turns loses the last writes: a turn whose end was lost is open
again, but its job was ended. That can happen on one server, too: the primary that had acknowledged the turn's end
fails, and the worker ends the job on the new one.

So the queue names the lineages of the data that it was filled in and from. Where they are others, or are missing, one
worker reads all turns. It lets the sweep look at those that should have a job, and publishes the ledger rows of ended
turns that are not on the stream any more. It does so twice, because another worker may still end a job that the first
reading has found.

`python -m worker rebuild-queue` does the same once, when an operator asks for it.
"""

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from redis.exceptions import NoPermissionError

from turnwire.shared.keys import ERASURE_PREFIX, TurnKey
from turnwire.shared.store.erasures import Erasures
from turnwire.shared.store.pausing import Pausing
from turnwire.shared.store.queue import Taken, TurnQueue
from turnwire.shared.store.queue_lineage import REBUILD_MS
from turnwire.shared.store.reads import TurnsPage
from turnwire.shared.store.turns import TurnStore

logger = logging.getLogger(__name__)

TOGETHER: Final = 200  # so that Redis can serve other clients in between
LOOK_S: Final = 5.0  # a loss is noticed after this time, at most
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
        self._on_one_server = settings.queue_url == settings.redis_url
        self.late_s = 2 * settings.lease_ms / 1000 + settings.redis_timeout_s  # by then nobody ends an old job
        self._first: tuple[str, str] | None = None  # the lineages of the first reading
        self._second_at_s = 0.0

    async def if_needed(self) -> float:
        """Rebuild the queue if a server may have lost data, and once more after `late_s`.

        Returns: in how many seconds this should be called again.

        Raises:
            StoreUnavailable: one of the servers does not answer. The next call begins anew.
        """
        of_turns = "" if self._on_one_server else await self._store.lineage()
        lineage = await self._queue.lost_lineage(of_turns, REBUILD_MS + int(self.late_s * 1000))
        if lineage is None:
            return LOOK_S
        is_second = self._first == (lineage, of_turns)
        if is_second and (left_s := self._second_at_s - time.monotonic()) > 0:
            return min(left_s, LOOK_S)
        try:
            rebuilt = await self.now()
        except NoPermissionError as error:
            logger.warning("the queue cannot be rebuilt, because Redis refuses SCAN (%s): lost turns stay lost", error)
            return math.inf
        if is_second:
            await self._queue.keep_lineage(lineage, of_turns)
        self._first, self._second_at_s = (lineage, of_turns), time.monotonic() + self.late_s
        if any(rebuilt):
            logger.warning(
                "Redis has restarted, failed over or lost data: the sweep looks at %d jobs, and the ledger rows of %d "
                "turns were published", *rebuilt,
            )  # fmt: skip
        return min(self.late_s, LOOK_S)

    async def now(self) -> Rebuilt:
        """Rebuild the queue, whatever its server has lost. It is safe at any time, also while turns run.

        Raises:
            StoreUnavailable: one of the servers does not answer.
            NoPermissionError: Redis refuses SCAN.
        """
        await Pausing(self._store, self._queue).restore()  # first, or turns would start that were paused
        erasures = await self._erasures.kept() if self._erasures is not None else []
        for erasure_id in erasures:
            await self._queue.announce(ERASURE_PREFIX + erasure_id)
        announced, published, page = len(erasures), 0, TurnsPage(-1, [], [])
        while page.next_cursor != 0:
            page = await self._store.page_of_turns(max(page.next_cursor, 0))
            for job_ids in _parts(page.job_ids):
                await asyncio.gather(*map(self._queue.announce, job_ids))
            for run_ids in _parts(page.suspended):  # it adds those to their index that are missing there
                await asyncio.gather(*(self._store.expire(TurnKey.parse(run_id)) for run_id in run_ids))
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


def _parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[first : first + TOGETHER] for first in range(0, len(ids), TOGETHER)]
