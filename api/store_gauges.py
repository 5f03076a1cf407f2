"""The metrics that are read from Redis: those of the whole deployment. Every API process says the same.

Several scrapes at the same time share one read, and one that comes soon after it gets the same numbers. A Redis that
does not answer in time leaves them out, and `turnwire_store_up` says so.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from redis.exceptions import RedisError

from turnwire.api.tenant_names import TenantNames
from turnwire.shared import keys
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.exposition import Gauges, Sample
from turnwire.shared.metric_names import OTHER
from turnwire.shared.settings import Settings
from turnwire.shared.store.queue_numbers import QueueNumbers, read_numbers
from turnwire.shared.store.scripts import answered_within
from turnwire.shared.store.suspended import SuspendedNumbers, ask_suspended, read_suspended

WITHIN_S: Final = 1.0  # the time that Redis has
FRESH_S: Final = 2.0  # a read counts for so long
LATER_MS: Final = 1000  # a job outside the lines that were looked at is reported as the oldest if it is older by this

logger = logging.getLogger(__name__)


class StoreGauges:
    """Reads the gauges. `redis`, `queue_redis`: the clients of the two servers, which may be one."""

    def __init__(self, settings: Settings, redis: Any, queue_redis: Any, pools: frozenset[str]) -> None:
        """`pools`: those that the settings of this process name."""
        self._redis = redis
        self._queue_redis = queue_redis
        self._pools = pools
        self._max_queued = settings.max_queued
        self._names = TenantNames(settings.metrics_tenants)
        self._read: asyncio.Task[Gauges] | None = None
        self._fresh_until_s = 0.0

    async def read(self) -> Gauges:
        """Return the gauges, by the names of the metrics. It takes about a second at most, and raises nothing."""
        now_s = asyncio.get_running_loop().time()
        if self._read is None or (self._read.done() and now_s >= self._fresh_until_s):
            self._read = asyncio.create_task(self._ask(), name="store gauges")
            self._read.add_done_callback(self._answered)
        return await asyncio.shield(self._read)

    async def close(self) -> None:
        """Stop a read that is under way."""
        if self._read is not None:
            self._read.cancel()
            await asyncio.wait({self._read})

    def _answered(self, read: "asyncio.Task[Gauges]") -> None:
        self._fresh_until_s = read.get_loop().time() + FRESH_S

    async def _ask(self) -> Gauges:
        data, numbers = await asyncio.gather(self._ask_data(), self._ask_queue())
        up: list[Sample] = [(("data",), float(data is not None)), (("queue",), float(numbers is not None))]
        gauges: dict[str, list[Sample]] = {"turnwire_store_up": up}
        erasures, suspended = data or (0, None)
        if suspended is not None:
            gauges["turnwire_queue_suspended_turns"] = self._suspended(suspended)
        if numbers is not None:
            gauges |= {name: [((), value)] for name, value in self._single(numbers, erasures).items()}
            gauges |= self._by_tenant(numbers)
        return gauges

    async def _ask_data(self) -> tuple[int, SuspendedNumbers] | None:
        """Return how many erasures are open, and the suspended turns; None: the server does not answer."""
        try:
            async with answered_within(WITHIN_S):
                pipe = self._redis.pipeline(transaction=False)
                ask_suspended(pipe.hlen(keys.ERASURES))
                erasures, *suspended = await pipe.execute()
                return erasures, read_suspended(*suspended)
        except (StoreUnavailable, RedisError) as error:
            logger.warning("the metrics lack what Redis knows: %s", error)
            return None

    async def _ask_queue(self) -> QueueNumbers | None:
        try:
            async with answered_within(WITHIN_S):
                return await read_numbers(self._queue_redis, self._pools)
        except (StoreUnavailable, RedisError) as error:
            logger.warning("the metrics lack what Redis knows of the queue: %s", error)
            return None

    def _single(self, numbers: QueueNumbers, erasures: int) -> dict[str, float]:
        open_turns = numbers.open - numbers.persist.jobs - numbers.callbacks.jobs - erasures
        return {
            "turnwire_queue_jobs": numbers.jobs,
            "turnwire_queue_limit_jobs": self._max_queued,
            "turnwire_queue_open_turns": max(open_turns, 0),
            "turnwire_queue_parked_turns": max(numbers.open - numbers.jobs, 0),
            "turnwire_queue_running_jobs": numbers.running,
            "turnwire_queue_workers": numbers.workers,
            "turnwire_queue_slots": numbers.slots,
            "turnwire_queue_suspect_turns": numbers.suspects,
            "turnwire_queue_unserved_turns": numbers.unserved,
            "turnwire_queue_persist_pending": numbers.persist.jobs,
            "turnwire_queue_persist_oldest_seconds": numbers.persist.oldest_ms / 1000,
            "turnwire_queue_callbacks_pending": numbers.callbacks.jobs,
            "turnwire_queue_callbacks_oldest_seconds": numbers.callbacks.oldest_ms / 1000,
        }

    def _suspended(self, numbers: SuspendedNumbers) -> list[Sample]:
        turns = defaultdict[tuple[str, ...], int](int)
        for pool in self._pools:  # a pool in which no turn is suspended says 0
            turns[pool, OTHER] = 0
        names = self._names.named(_counts((line.tenant, line.turns) for line in numbers.lines))
        for line in numbers.lines:
            turns[line.pool if line.pool in self._pools else OTHER, names[line.tenant]] += line.turns
        elsewhere = numbers.turns - sum(line.turns for line in numbers.lines)
        if elsewhere > 0:  # of more tenants than were looked at
            turns[OTHER, OTHER] += elsewhere
        return [(labels, float(count)) for labels, count in turns.items()]

    def _by_tenant(self, numbers: QueueNumbers) -> dict[str, list[Sample]]:
        jobs, oldest_ms = defaultdict[tuple[str, ...], int](int), defaultdict[tuple[str, ...], int](int)
        for pool in self._pools:  # a pool in which nothing waits says 0, so that an alert on it ends
            jobs[pool, OTHER] = oldest_ms[pool, OTHER] = 0
        names = self._names.named(_counts((line.tenant, line.jobs) for line in numbers.lines))
        for line in numbers.lines:
            labels = line.pool, names[line.tenant]
            jobs[labels] += line.jobs
            oldest_ms[labels] = max(oldest_ms[labels], line.oldest_ms)
        elsewhere = numbers.waiting - sum(line.jobs for line in numbers.lines)
        if elsewhere > 0:  # in pools that this process does not know, or of more tenants than were looked at
            jobs[OTHER, OTHER] += elsewhere
        if numbers.oldest_ms > max(oldest_ms.values(), default=0) + LATER_MS:
            oldest_ms[OTHER, OTHER] = numbers.oldest_ms
        return {
            "turnwire_queue_waiting_jobs": [(labels, float(count)) for labels, count in jobs.items()],
            "turnwire_queue_oldest_waiting_seconds": [(labels, ms / 1000) for labels, ms in oldest_ms.items()],
        }


def _counts(found: Iterable[tuple[str, int]]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for tenant, count in found:
        counts[tenant] += count
    return counts
