"""The audit stream, on the data Redis: who asked for an erasure, a cancel, a signal, a token, or a deed of operators.

An entry is written before the deed, so a crash leaves no deed without an entry; nor does a failover, if
`redis_replicas` is set. The entry of a signal goes in the same round trip, before the signal; one script cannot write
both, because on a cluster they are on different nodes. An entry says what was asked for; what became of that is in the
turn's record. No entry names a user, because an erasure must leave
nothing of a user: a digest stands for the name.
"""

import asyncio
from typing import Any, Literal

import msgspec

from turnwire.shared import keys
from turnwire.shared.settings import Settings
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.scripts import answered_within, typed_refusals

Action = Literal[
    "erase_session",
    "erase_user",
    "cancel",
    "signal",
    "token",
    "revoke",
    "requeue",
    "drain",
    "kill",
    "pause",
    "resume",
]


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry.

    Attributes:
        action: what was asked for.
        tenant_id: the tenant of the credentials.
        key: the name of the credentials.
        user_digest: it stands for the user that the credentials are bound to; see `identity.user_digest`.
        request_id: the `X-Request-Id` of the request, which the client, a proxy or the API has chosen.
        session_id, turn_index, signal: what the action was done to.
        of_tenant: whose session that is, or which tenant was paused, if it is not the tenant of the credentials.
        worker, project: what an operator's action was done to.
        erased_user_digest: it stands for the user who was erased.
        revoked: what tokens were revoked, as shared/store/revocations.py names it.
    """

    action: Action
    tenant_id: str
    key: str
    user_digest: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    turn_index: int | None = None
    signal: str | None = None
    of_tenant: str | None = None
    worker: str | None = None
    project: str | None = None
    erased_user_digest: str | None = None
    revoked: str | None = None


class StoredEntry(msgspec.Struct, frozen=True):
    """An entry with its id. `at`: when it was written, in ms of Redis time."""

    id: str
    at: int
    entry: AuditEntry


_entry = msgspec.json.Decoder(AuditEntry)


def note_first(courier: Courier, entry: bytes, max_entries: int) -> "asyncio.Future[Any]":
    """Send an entry. What is sent through the same courier right after it goes in the same round trip, behind it."""
    return courier.send("XADD", keys.AUDIT, "MAXLEN", "~", max_entries, "*", "entry", entry)


class Audit:
    """Typed access to the stream. Methods raise StoreUnavailable when Redis does not answer."""

    def __init__(self, redis: Any, settings: Settings) -> None:
        self._redis = redis
        self._timeout_s = settings.redis_timeout_s
        self._max_entries = settings.audit_entries
        # A deed may be in the queue's Redis, or nowhere, as a token is; so its entry must not be lost without it.
        self._courier = Courier(redis, settings.redis_timeout_s, replicas=settings.redis_replicas)

    async def note(self, entry: AuditEntry) -> int:
        """Write an entry. It is awaited before the deed, so a crash between them loses no entry of a deed.

        Returns: when it was written, in ms of Redis time.
        """
        with typed_refusals():
            entry_id: bytes = await note_first(self._courier, msgspec.json.encode(entry), self._max_entries)
        return int(entry_id.partition(b"-")[0])

    async def entries(self, after: str, limit: int) -> list[StoredEntry]:
        """Return at most `limit` entries after the id `after`, oldest first. With '', from the oldest one that is kept.

        An entry that another version has written and this one cannot read is left out.
        """
        async with answered_within(self._timeout_s):
            found = await self._redis.xrange(keys.AUDIT, f"({after}" if after else "-", "+", limit)
        return [stored for entry_id, fields in found if (stored := _read(entry_id, fields)) is not None]


def _read(entry_id: bytes, fields: Any) -> StoredEntry | None:
    try:
        entry = _entry.decode(fields[1])
    except (msgspec.MsgspecError, IndexError):
        return None
    name = entry_id.decode()
    return StoredEntry(name, int(name.partition("-")[0]), entry)
