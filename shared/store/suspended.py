"""The index of suspended turns, on the data Redis. The scripts that suspend, wake, cancel and erase turns write it."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from turnwire.shared import keys
from turnwire.shared.keys import SUSPENDED_INDEX, TurnKey, is_run_id
from turnwire.shared.settings import Settings
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.scripts import Call, Script, answered_within

UNLIST_SUSPENDED = Script("unlist_suspended")

MOST_LINES: Final = 200  # so many pools of tenants are counted one by one, those with the most suspended turns


class SuspendedEntry(NamedTuple):
    """An entry of the index. `since_us`: since when the turn is suspended, in µs of Redis time."""

    name: str
    since_us: int

    @property
    def run_id(self) -> str:
        """Of the turn."""
        return self.name.partition(" ")[2]


class SuspendedLine(msgspec.Struct, frozen=True):
    """How many turns of a tenant are suspended that run in a pool."""

    pool: str
    tenant: str
    turns: int


class SuspendedNumbers(msgspec.Struct, frozen=True):
    """The numbers of a moment. `turns`: all suspended turns. `lines`: those of most of them, or of all."""

    turns: int
    lines: list[SuspendedLine]


def ask_suspended(pipe: Any) -> None:
    """Add to a pipeline what `read_suspended` reads. The cost does not grow with the number of suspended turns."""
    pipe.zcard(keys.SUSPENDED).zrevrange(keys.SUSPENDED_LINES, 0, MOST_LINES - 1, withscores=True)


def read_suspended(turns: int, lines: Sequence[tuple[bytes, float]]) -> SuspendedNumbers:
    """Read the two replies to `ask_suspended`."""
    named = [(*name.decode().partition(" "), int(count)) for name, count in lines]
    return SuspendedNumbers(turns, [SuspendedLine(pool, tenant, count) for pool, _, tenant, count in named])


class SuspendedTurns:
    """Reads and repairs the index. Methods raise StoreUnavailable when Redis does not answer, and may be repeated."""

    def __init__(self, redis: Any, settings: Settings) -> None:
        self._redis = redis
        self._timeout_s = settings.redis_timeout_s
        self._courier = Courier(redis, settings.redis_timeout_s)

    async def count(self) -> int:
        """Return how many turns are suspended."""
        async with answered_within(self._timeout_s):
            return int(await self._redis.zcard(keys.SUSPENDED))

    async def newest(self, before_us: int | None, count: int) -> list[SuspendedEntry]:
        """Return at most `count` entries, the turn first that was suspended last.

        `before_us`: leave out turns that were suspended later; None: leave out none.
        """
        highest = "+inf" if before_us is None else before_us
        async with answered_within(self._timeout_s):
            found = await self._redis.zrevrangebyscore(
                keys.SUSPENDED, highest, "-inf", start=0, num=count, withscores=True
            )
        return [SuspendedEntry(name.decode(), int(since)) for name, since in found]

    async def unlist_others(self, first: int, count: int) -> int | None:
        """Take those off the index that are not suspended, among `count` entries from place `first` on.

        Only a process of an older version, or somebody's hand, leaves such entries behind.

        Returns: the place from which to go on; None at the end.
        """
        async with answered_within(self._timeout_s):
            found = [name.decode() for name in await self._redis.zrange(keys.SUSPENDED, first, first + count - 1)]
            names = [name for name in found if is_run_id(name.partition(" ")[2])]
            turns = [TurnKey.parse(name.partition(" ")[2]) for name in names]
            pipe = self._redis.pipeline(transaction=False)
            for turn in turns:
                pipe.hget(turn.record, "status")
            statuses = await pipe.execute() if turns else []
        calls: list[Call] = [
            ([turn.record, *SUSPENDED_INDEX], [name])
            for name, turn, status in zip(names, turns, statuses, strict=True)
            if status != b"suspended"
        ]
        removed = 0
        for reply in await UNLIST_SUSPENDED.many(self._courier, calls):
            if isinstance(reply, Exception):
                raise reply
            removed += reply
        return first + count - removed if len(found) == count else None
