"""Erases sessions and users, and keeps each erasure until the product has erased its copy, too.

The steps are announce, keep, erase, enqueue. If the process dies after the second one, the sweep finds the announced
job, and the worker that takes it erases the rest. Only then is the product told, at least once.
"""

import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from turnwire.shared import identity, keys
from turnwire.shared.erasure import KeptErasure, Receipt
from turnwire.shared.errors import NotFound
from turnwire.shared.keys import DEFAULT_POOL, SessionKey, TurnKey
from turnwire.shared.lifecycle import TERMINAL_STATES
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.listing import Listing
from turnwire.shared.store.named_rows import NamedRows
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.retention import Retention
from turnwire.shared.store.scripts import Arg, Script, answered_within, typed_refusals
from turnwire.shared.store.turns import ERASE_TURNS, TurnStore
from turnwire.shared.store.user_sessions import UserSessions

ERASURE = Script("erasure")
UNNAME_TURNS = Script("unname_turns")

FIRST_PAUSE_MS: Final = 1000
LONGEST_PAUSE_MS: Final = 60_000


class Begun(msgspec.Struct, frozen=True):
    """A kept erasure, at the beginning of a try to tell the product. `wait_ms`: how long it must wait."""

    kept: KeptErasure
    requested_at: int
    is_erased: bool
    tries: int
    wait_ms: int


class _Found(msgspec.Struct):
    """What there is of some sessions."""

    sessions: int = 0
    turns: int = 0
    open_turns: int = 0
    may_write: bool = False  # a hook may run right now that stores an answer
    pool: str = DEFAULT_POOL
    since_ms: int = 0  # when the last of the sessions was created; 0: that is not known
    digests: set[str] = msgspec.field(default_factory=set)
    projects: set[str | None] = msgspec.field(default_factory=set)


class Erasures:
    """Typed access to erasures. Methods raise StoreUnavailable when Redis does not answer; all may be repeated."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        settings = store.settings
        self.users = UserSessions(store.redis, settings)
        self._store = store
        self._queue = queue
        self._listing = Listing(queue)
        self._settings = settings
        self._retention = Retention(settings)
        self._data = Courier(store.redis, settings.redis_timeout_s, replicas=settings.redis_replicas)
        self._rows = Courier(queue.redis, settings.redis_timeout_s)
        self._named_rows = NamedRows(queue.redis, settings)

    async def erase_session(self, session: SessionKey, user: str | None = None) -> Receipt:
        """Erase everything of a session. `user`: only if it is this user's; None: whoever's it is.

        Raises:
            NotFound: there is no such session.
        """
        if user is not None and await self._store.user_of(session) != user:
            raise NotFound("no such session")
        return await self._erase(session.tenant, [session], None)

    async def erase_user(self, tenant: str, user: str) -> Receipt:
        """Erase every session in which a user has asked for a turn, and the user's name in the ledger rows."""
        return await self._erase(tenant, await self.users.of(tenant, user), user)

    async def _erase(self, tenant: str, sessions: Sequence[SessionKey], user: str | None) -> Receipt:
        names = [session.session for session in sessions]
        interrupted = await self._interrupted(tenant, names, user)
        if interrupted:
            return await self._finish(*interrupted)
        found = _Found(digests=set() if user is None else {identity.user_digest(tenant, user)})
        for session in sessions:
            await self._look(session, found)
        if user is None and not found.sessions:
            raise NotFound("no such session")
        kept = KeptErasure(
            id=secrets.token_hex(8),
            tenant_id=tenant,
            user=user,
            sessions=names,
            user_digests=sorted(found.digests),
            projects=sorted(found.projects, key=lambda project: project or ""),
            pool=found.pool,
            since_ms=found.since_ms if user is None else 0,
            found_sessions=found.sessions,
            found_turns=found.turns,
            found_open_turns=found.open_turns,
        )
        await self._queue.announce(keys.ERASURE_PREFIX + kept.id)
        with typed_refusals():
            await self._data.send("HSET", keys.ERASURES, _subject(tenant, names, user), kept.id)
        # A worker that runs one of the turns may be about to store an answer in the product's own store.
        pause_ms = 2 * self._settings.lease_ms if found.may_write else 0
        begun = await self._step("keep", kept.id, msgspec.json.encode(kept), pause_ms)
        assert begun is not None
        return await self._finish(kept, begun.requested_at)

    async def _interrupted(
        self, tenant: str, sessions: Sequence[str], user: str | None
    ) -> tuple[KeptErasure, int] | None:
        """Return an unfinished erasure of the same user or session, whose process died, and when it was asked for."""
        with typed_refusals():
            erasure_id = await self._data.send("HGET", keys.ERASURES, _subject(tenant, sessions, user))
            if erasure_id is None:
                return None
            names = erasure_id, erasure_id + b":requested_at", erasure_id + b":erased"
            document, requested_at, is_erased = await self._data.send("HMGET", keys.ERASURES, *names)
        if document is None or is_erased:
            return None
        kept = msgspec.json.decode(document, type=KeptErasure)
        return (kept, int(requested_at)) if set(sessions) <= set(kept.sessions) else None

    async def _finish(self, kept: KeptErasure, requested_at: int) -> Receipt:
        ledger_rows = await self.wipe(kept, requested_at)
        await self._queue.enqueue_erasure(keys.ERASURE_PREFIX + kept.id, kept.pool)
        return Receipt(
            id=kept.id,
            tenant_id=kept.tenant_id,
            session_id=kept.sessions[0] if kept.user is None else None,
            user=kept.user,
            requested_at=requested_at,
            sessions=kept.found_sessions,
            turns=kept.found_turns,
            open_turns=kept.found_open_turns,
            ledger_rows=ledger_rows,
        )

    async def wipe(self, kept: KeptErasure, requested_at: int) -> int:
        """Erase what the erasure names. Returns how many ledger rows do not name their user any more."""
        await self.users.forget(kept.tenant_id, kept.user_digests, kept.sessions, requested_at)
        for name in kept.sessions:
            session = SessionKey(kept.tenant_id, name)
            await self._erase_turns(session)
            await self._queue.drop_session(session)
        changed = await self._named_rows.unname(kept.tenant_id, kept.sessions, kept.user or "", kept.since_ms)
        await self._step("erased", kept.id)
        with typed_refusals():
            await self._data.send("HDEL", keys.ERASURES, _subject(kept.tenant_id, kept.sessions, kept.user))
        return changed

    async def _erase_turns(self, session: SessionKey) -> None:
        erased: list[str] = []

        async def before(turns: Sequence[TurnKey]) -> None:
            await self._unname_turns(turns)
            run_ids = [turn.run_id for turn in turns]
            await self._queue.release(run_ids)
            await self._listing.drop(run_ids)  # if this process dies after the next step, nobody else would
            erased.extend(run_ids)

        await self._store.erase(session, before=before)
        for first in range(0, len(erased), ERASE_TURNS):  # somebody may have enqueued one of them meanwhile
            await self._queue.release(erased[first : first + ERASE_TURNS])
            await self._listing.drop(erased[first : first + ERASE_TURNS])

    async def begin(self, erasure_id: str) -> Begun | None:
        """Begin a try to tell the product. Returns None if the product has followed the erasure, or there is none."""
        return await self._step("begin", erasure_id, b"", FIRST_PAUSE_MS)

    async def left(self, kept: KeptErasure) -> None:
        """Note which projects have not been told yet."""
        await self._step("left", kept.id, msgspec.json.encode(kept))

    async def done(self, erasure_id: str) -> None:
        """Forget an erasure that the product has followed."""
        await self._step("done", erasure_id)

    async def pool_of(self, erasure_id: str) -> str | None:
        """Return the pool of an erasure that a product has not followed yet; None: there is no such erasure."""
        with typed_refusals():
            stored = await self._data.send("HGET", keys.ERASURES, erasure_id)
        return None if stored is None else msgspec.json.decode(stored, type=KeptErasure).pool

    async def kept(self) -> list[str]:
        """Return the ids of the erasures that a product has not followed yet."""
        with typed_refusals():
            fields = await self._data.send("HKEYS", keys.ERASURES)
        return [field.decode() for field in fields if b":" not in field]

    async def _step(self, event: str, erasure_id: str, document: bytes = b"", pause_ms: int = 0) -> Begun | None:
        args: list[Arg] = [event, erasure_id, document, pause_ms, LONGEST_PAUSE_MS]
        stored, requested_at, is_erased, tries, wait_ms = await ERASURE(self._data, [keys.ERASURES], args)
        if not stored:
            return None
        kept = msgspec.json.decode(stored, type=KeptErasure)
        return Begun(kept, requested_at, bool(is_erased), tries, wait_ms)

    async def _look(self, session: SessionKey, found: _Found) -> None:
        """Add what there is of a session to `found`."""
        redis, start, indexes = self._store.redis, 0, [b""]
        async with answered_within(self._settings.redis_timeout_s):
            found.sessions += bool(await redis.exists(session.record, session.turns, session.numbering))
            created_at = await redis.hget(session.record, "created_at")
            found.since_ms = int(created_at or 0)
            while indexes:
                indexes = await redis.zrange(session.turns, start, start + ERASE_TURNS - 1)
                async with redis.pipeline(transaction=False) as pipe:
                    for index in indexes:
                        pipe.hmget(session.turn(int(index)).record, "status", "project", "user", "persist", "pool")
                    turns = await pipe.execute()
                for status, project, user, persist, pool in turns:
                    if status is None:  # its retention is over
                        continue
                    is_open = status.decode(errors="replace") not in TERMINAL_STATES
                    found.turns += 1
                    found.pool = DEFAULT_POOL if pool is None else pool.decode()
                    found.open_turns += is_open
                    found.may_write |= is_open or persist == b"pending"
                    found.projects.add(None if project is None else project.decode())
                    if user is not None:
                        found.digests.add(identity.user_digest(session.tenant, user.decode()))
                start += ERASE_TURNS

    async def _unname_turns(self, turns: Sequence[TurnKey]) -> None:
        """Let no ledger row of these turns that is published from now on name a user."""
        redis = self._store.redis
        async with answered_within(self._settings.redis_timeout_s), redis.pipeline(transaction=False) as pipe:
            for turn in turns:
                pipe.hget(turn.record, "created_at")
            created = await pipe.execute()
        known = [(turn, at) for turn, at in zip(turns, created, strict=True) if at is not None]
        names = [keys.billed(turn.run_id) for turn, _ in known]
        if names:
            await UNNAME_TURNS(
                self._rows, names, [self._retention.ms(turns[0].session.tenant), *(at for _, at in known)]
            )


def _subject(tenant: str, sessions: Sequence[str], user: str | None) -> str:
    """The field that names the latest erasure of a user, or of a session, until nothing is left of it."""
    text = f"session {sessions[0]}" if user is None else f"user {user}"
    return f"of:{identity.user_digest(tenant, text)}"
