"""Where a list of turns for operators comes from: all that are listed, those of one session, that run, or that wait."""

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

from turnwire.shared import keys
from turnwire.shared.errors import BadRequest
from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.store.listing import Listing
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.scripts import answered_within
from turnwire.shared.store.suspended import SuspendedTurns
from turnwire.shared.store.turns import TurnStore

SAME_TIME = 8  # two turns may have been enqueued in the same µs, but hardly more

_PLACE = re.compile(r"([0-9]{1,16}):(chat:.{1,250})\Z")


class Place(NamedTuple):
    """A turn's place in a list, which goes from the greatest place to the smallest."""

    number: int
    run_id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the `next` of an earlier page.

        Raises:
            BadRequest: it is none.
        """
        match = _PLACE.match(text)
        if match is None:
            raise BadRequest("after must be the `next` of an earlier page")
        TurnKey.parse(match[2])
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.number}:{self.run_id}"


class Places(Protocol):
    """A source of places. Methods raise StoreUnavailable when Redis does not answer."""

    async def after(self, place: Place | None, count: int) -> tuple[list[Place], bool]:
        """Return at most `count` places after one (None: from the first), and whether there may be more."""

    async def gone(self, places: Sequence[Place]) -> None:
        """Hear that these turns do not exist any more."""


class ListedPlaces:
    """The turns that were enqueued lately, the newest first. `older_than_ms`: leave out those that are newer."""

    def __init__(self, queue: TurnQueue, older_than_ms: int) -> None:
        self._listing = Listing(queue)
        self._older_than_ms = older_than_ms

    async def after(self, place: Place | None, count: int) -> tuple[list[Place], bool]:
        """See Places."""
        redis = self._listing.redis
        async with answered_within(self._listing.timeout_s):
            highest = "+inf" if place is None else str(place.number)
            if place is None and self._older_than_ms:
                seconds, micros = await redis.time()
                highest = str(seconds * 1_000_000 + micros - self._older_than_ms * 1000)
            most = count + SAME_TIME
            found = await redis.zrevrangebyscore(keys.LISTED, highest, "-inf", start=0, num=most, withscores=True)
        places = [Place(int(score), run_id.decode()) for run_id, score in found]
        following = [other for other in places if place is None or other < place]
        return following[:count], len(following) > count or len(found) == most

    async def gone(self, places: Sequence[Place]) -> None:
        """Take them off the list."""
        await self._listing.unlist([(place.run_id, place.number) for place in places])


class SessionPlaces:
    """The turns of a session, the one with the highest index first."""

    def __init__(self, store: TurnStore, session: SessionKey) -> None:
        self._store = store
        self._session = session

    async def after(self, place: Place | None, count: int) -> tuple[list[Place], bool]:
        """See Places."""
        highest = "+inf" if place is None else f"({place.number}"
        async with answered_within(self._store.settings.redis_timeout_s):
            redis = self._store.redis
            found = await redis.zrevrangebyscore(self._session.turns, highest, "-inf", start=0, num=count + 1)
        turns = [self._session.turn(int(index)) for index in found[:count]]
        return [Place(turn.index, turn.run_id) for turn in turns], len(found) > count

    async def gone(self, places: Sequence[Place]) -> None:
        """Nothing to do: whoever reads the session removes them from its index."""


class SuspendedPlaces:
    """The suspended turns, the one first that was suspended last."""

    def __init__(self, store: TurnStore) -> None:
        self._suspended = SuspendedTurns(store.redis, store.settings)

    async def after(self, place: Place | None, count: int) -> tuple[list[Place], bool]:
        """See Places."""
        found = await self._suspended.newest(None if place is None else place.number, count + SAME_TIME)
        places = [Place(entry.since_us, entry.run_id) for entry in found if keys.is_run_id(entry.run_id)]
        following = [other for other in places if place is None or other < place]
        return following[:count], len(following) > count or len(found) == count + SAME_TIME

    async def gone(self, places: Sequence[Place]) -> None:
        """Nothing to do: the sweep takes them off the index."""


class ClaimedPlaces:
    """The turns whose jobs workers have claimed. There are no more than the workers have slots."""

    def __init__(self, queue: TurnQueue, worker: str | None) -> None:
        self._queue = queue
        self._worker = worker
        self._places: list[Place] | None = None

    async def after(self, place: Place | None, count: int) -> tuple[list[Place], bool]:
        """See Places."""
        if self._places is None:
            workers = [self._worker] if self._worker is not None else list(await self._queue.workers())
            claimed = await Listing(self._queue).claimed(workers)
            self._places = await self._placed([run_id for run_ids in claimed.values() for run_id in run_ids])
        following = [other for other in self._places if place is None or other < place]
        return following[:count], len(following) > count

    async def gone(self, places: Sequence[Place]) -> None:
        """Nothing to do: the claims end with the jobs."""

    async def _placed(self, run_ids: Sequence[str]) -> list[Place]:
        if not run_ids:
            return []
        async with answered_within(self._queue.timeout_s):
            scores = await self._queue.redis.zmscore(keys.LISTED, run_ids)
        places = [Place(int(score or 0), run_id) for run_id, score in zip(run_ids, scores, strict=True)]
        return sorted(places, reverse=True)
