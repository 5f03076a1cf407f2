"""Reading the turns of a session: its lists, and the turns that one of them follows."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis

from turnwire.shared.channels import ENDED, NOT_PUBLISHED, channel_prefix
from turnwire.shared.errors import RecordUnreadable, StoreUnavailable
from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.model import TurnRecord
from turnwire.shared.settings import Settings
from turnwire.shared.store.ancestry import Ancestry, Found
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.retention import Retention
from turnwire.shared.store.scripts import Arg, Script, answered_within, typed_refusals
from turnwire.shared.store.session_look import FOLLOWED_MS, LOOKED_AT, Look, read_standings

LOOK = Script("look")
PRUNE = Script("prune")

logger = logging.getLogger(__name__)

PAGE_TURNS: Final = 100
PRUNED_TURNS: Final = 1000  # one call looks at so many, so that Redis can serve other clients in between
OLDEST_TURNS: Final = 4  # each read checks so many; that is enough, because a session gets one turn at a time


class SessionReads:
    """Reads of a session. Methods raise StoreUnavailable when Redis does not answer."""

    open_event: Callable[[TurnKey, bytes], bytes] | None = None  # decrypts the data of an event, if it is encrypted

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis: Any = redis  # redis-py's own annotations do not pass a strict checker
        self.settings = settings
        self._timeout_s = settings.redis_timeout_s
        self._retention = Retention(settings)
        self._channel_prefix = channel_prefix(settings.deployment_name)
        self._courier = Courier(redis, settings.redis_timeout_s)
        # Writes that must outlive the primary have round trips of their own, so that events do not wait for replicas.
        replicas = settings.redis_replicas
        self._replicated = Courier(redis, settings.redis_timeout_s, replicas=replicas) if replicas else self._courier
        # Readers hear of an end only when the replicas have it: a failover must not take back what they were told.
        self._end_prefix = NOT_PUBLISHED if replicas else self._channel_prefix

    def settings_of(self, tenant: str) -> Settings:
        """Return the settings that count for a tenant: its own in the key file come first."""
        return self._retention.own.of(tenant)

    def _followers(self, session: SessionKey) -> str:
        """Return the channel on which scripts tell those who follow the session of a turn whose status has changed."""
        return session.channel(self.settings.deployment_name)

    async def _tell_end(self, key: TurnKey) -> None:
        """Tell the readers of an end that was not published. A message that gets lost only delays them."""
        if self._end_prefix == NOT_PUBLISHED:
            with suppress(StoreUnavailable), typed_refusals():
                await self._courier.send("PUBLISH", self._channel_prefix + key.events, ENDED)

    async def _tell_claimed_end(self, key: TurnKey, events: Sequence[bytes]) -> None:
        """Tell the readers of an end that a claim has written, once the replicas have it. `events`: the end, if any."""
        if events and self._end_prefix == NOT_PUBLISHED:
            await self._until_replicated(key)
            await self._tell_end(key)

    async def _until_replicated(self, key: TurnKey) -> None:
        """Wait until the replicas have all that was written to a turn before.

        A wait is for the writes of its own connection and for all before them. So this is a write: a message to nobody.
        """
        with typed_refusals():
            await self._replicated.send("PUBLISH", f"{self._channel_prefix}{key.events}/nobody", "")

    def _opened(self, key: TurnKey, fields: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:  # noqa: ARG002
        """The fields of a turn hash, decrypted."""
        return fields

    async def user_of(self, session: SessionKey) -> str | None:
        """Return the user whose session this is; None: nobody's, or there is no such session."""
        with typed_refusals():
            user = await self._courier.send("HGET", session.record, "user")
        return None if user is None else user.decode()

    async def waits_for(self, key: TurnKey) -> TurnKey | None:
        """The earlier open turn of its branch that must end before this queued turn can run; None: it can."""
        async with answered_within(self._timeout_s), self.redis.pipeline(transaction=False) as pipe:
            pipe.zrange(key.session.open, 0, 0)
            pipe.hmget(key.record, "on_busy", "parent", "ahead")
            first, (on_busy, parent, ahead) = await pipe.execute()
            if parent is not None:
                first = [ahead] if ahead and await self.redis.zscore(key.session.open, ahead) is not None else []
        if on_busy == b"concurrent" or not first or int(first[0]) >= key.index:
            return None
        return key.session.turn(int(first[0]))

    async def records(self, session: SessionKey, *, first: int = 0, limit: int = 100) -> list[TurnRecord]:
        """Return at most `limit` turns of a session from index `first`, ascending. Expired turns are left out."""
        found: list[TurnRecord] = []
        page = limit
        while True:
            async with answered_within(self._timeout_s):
                indexes = await self.redis.zrangebyscore(session.turns, first, "+inf", start=0, num=page)
                found += await self._records([session.turn(int(index)) for index in indexes])
            if len(indexes) < page or len(found) >= limit:
                return found[:limit]
            first, page = int(indexes[-1]) + 1, PAGE_TURNS

    async def history(self, key: TurnKey, limit: int, parent: int | None = None) -> list[TurnRecord]:
        """Return the turns that this one follows, ascending: at most the last `limit`. `parent`: of its record."""
        ancestry = Ancestry(key.index, parent, limit)
        while not ancestry.done:
            ancestry.take(*await self._turns_up_to(key.session, ancestry.upto, limit))
        return ancestry.found()

    async def _turns_up_to(self, session: SessionKey, index: int, limit: int) -> tuple[list[Found], int | None]:
        """Return at most `limit` turns up to this index, ascending, and the lowest index; None: there is none below."""
        async with answered_within(self._timeout_s):
            before, oldest = await asyncio.gather(
                self._courier.send("ZREVRANGEBYSCORE", session.turns, index, "-inf", "LIMIT", 0, limit),
                self._courier.send("ZRANGE", session.turns, 0, OLDEST_TURNS - 1),
            )
            turns = [session.turn(int(index)) for index in reversed(before)]
            hashes = await self._hashes(turns, [session.turn(int(index)) for index in oldest])
        found = [
            Found.of(key.index, fields, self._readable(key, fields))
            for key, fields in zip(turns, hashes, strict=True)
            if fields
        ]
        return found, int(before[-1]) if len(before) == limit else None

    async def _records(self, keys: Sequence[TurnKey]) -> list[TurnRecord]:
        """Read these turns, without those that are gone or cannot be read."""
        hashes = zip(keys, await self._hashes(keys), strict=True)
        return [record for key, fields in hashes if (record := self._readable(key, fields)) is not None]

    async def _hashes(self, keys: Sequence[TurnKey], others: Sequence[TurnKey] = ()) -> list[dict[bytes, bytes]]:
        """Read these turns. Those whose retention is over are removed from the session's indexes, `others` too."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(key.record)
            for key in others:
                pipe.exists(key.record)
            replies = await pipe.execute()
        if expired := [key for key, reply in zip([*keys, *others], replies, strict=True) if not reply]:
            await self._prune(expired)
        return list(replies[: len(keys)])

    def _readable(self, key: TurnKey, fields: Mapping[bytes, bytes]) -> TurnRecord | None:
        """Read one turn hash among others. Returns None for one that cannot be read, so that the others are shown."""
        try:
            return TurnRecord.from_hash(key, self._opened(key, fields))
        except RecordUnreadable as error:
            logger.warning("%s; it is skipped: %s", error, error.__cause__)
            return None

    async def _prune(self, turns: Sequence[TurnKey]) -> int:
        session = turns[0].session
        names = [session.record, session.turns, *(turn.record for turn in turns)]
        return int(await PRUNE(self._courier, names, [turn.index for turn in turns]))

    async def prune(self, session: SessionKey) -> bool:
        """Remove turns whose retention is over from the session's indexes. Returns whether there were any."""
        start, indexes = 0, [b""]
        while indexes:
            async with answered_within(self._timeout_s):
                indexes = await self.redis.zrange(session.turns, start, start + PRUNED_TURNS - 1)
            if indexes and await self._prune([session.turn(int(index)) for index in indexes]):
                return True
            start += PRUNED_TURNS
        return False

    async def look(
        self, session: SessionKey, *, since_ms: int = 0, first: int | None = None, named: Sequence[int] = ()
    ) -> Look | None:
        """Return the oldest open turns of a session, its last one, and those that are asked for.

        Args:
            session: the session.
            since_ms: of the turns from `first` on, return only those that have changed at this time or later.
            first: return turns from this index on; None: do not.
            named: the indexes of other turns to return.

        Returns: None if there is no such session.
        """
        names = [session.record, session.turns, session.open, session.turn(0).record]
        found: Look | None = None
        start = "" if first is None else str(first)
        while found is None or start:
            args: list[Arg] = [since_ms, start, LOOKED_AT, FOLLOWED_MS, *named]
            created_at, *others = await LOOK(self._courier, names, args)
            if created_at is None:
                return None
            at_ms, following, fields = others
            earlier = {} if found is None else found.turns
            found = Look(int(created_at), at_ms, earlier | {turn.index: turn for turn in read_standings(fields)})
            start, named = following.decode(), ()
        if self._end_prefix == NOT_PUBLISHED and any(turn.is_over for turn in found.turns.values()):
            await self._until_replicated(session.turn(0))
        return found
