"""The sessions of each user, on the data Redis, so that everything of a user can be erased.

The list is written before the turn, so no turn is without it. No key names a user: a digest stands for the name.
"""

from collections.abc import Sequence
from typing import Any

from turnwire.shared import identity, keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.settings import Settings
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.scripts import Script, typed_refusals

FORGET_USER = Script("forget_user")
NOTE_USER = Script("note_user")


class UserSessions:
    """Typed access to the lists. Methods raise StoreUnavailable when Redis does not answer; all may be repeated."""

    def __init__(self, redis: Any, settings: Settings) -> None:
        self._courier = Courier(redis, settings.redis_timeout_s, replicas=settings.redis_replicas)
        self._keep_ms = settings.session_retention_ms

    async def note(self, session: SessionKey, user: str) -> None:
        """Note that a user asks for a turn in a session."""
        name = keys.user_sessions(session.tenant, identity.user_digest(session.tenant, user))
        await NOTE_USER(self._courier, [name], [session.session, self._keep_ms])

    async def of(self, tenant: str, user: str) -> list[SessionKey]:
        """Return the sessions in which a user has asked for a turn. Some of them may be gone."""
        name = keys.user_sessions(tenant, identity.user_digest(tenant, user))
        with typed_refusals():
            found = await self._courier.send("ZRANGE", name, 0, -1)
        return [SessionKey(tenant, session.decode()) for session in found]

    async def forget(self, tenant: str, digests: Sequence[str], sessions: Sequence[str], before_ms: int) -> None:
        """Take erased sessions off the lists of these users, unless they were used again since `before_ms`."""
        for digest in digests:
            for first in range(0, len(sessions), 500):
                page = sessions[first : first + 500]
                await FORGET_USER(self._courier, [keys.user_sessions(tenant, digest)], [before_ms, *page])
