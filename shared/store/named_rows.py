"""Takes users out of the published ledger rows, on the queue Redis. The rows of a session that name one are indexed."""

from collections.abc import Sequence
from typing import Any, Final

from turnwire.shared import keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.settings import Settings
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.scripts import Arg, Script

UNNAME_ROWS = Script("unname_rows")
UNNAME_SESSION = Script("unname_session")

PAGE_ROWS: Final = 500  # one call looks at so many ledger rows, so that Redis can serve other clients in between
CLOCKS_DIFFER_MS: Final = 60_000


def named_rows_key(session: SessionKey) -> str:
    """Return the key of the index of a session."""
    return f"{keys.NAMED_ROWS_PREFIX}{session.tenant}:{session.session}"


class NamedRows:
    """The published rows that name users. A method raises StoreUnavailable if Redis does not answer."""

    def __init__(self, redis: Any, settings: Settings) -> None:
        self._rows = Courier(redis, settings.redis_timeout_s)
        self._index_ms = settings.session_retention_ms

    async def unname(self, tenant: str, sessions: Sequence[str], user: str, since_ms: int) -> int:
        """Take the users out of the rows of these sessions; if `user` is not '', only that one, and in every session.

        Very old rows, and those that an older version has published, are in no index, so they are looked through. None
        of those that are looked for is older than `since_ms`. The clocks of two servers may differ a little.

        Returns: how many rows that were.
        """
        total = 0
        for session in sessions:
            total += await self._indexed(SessionKey(tenant, session), user)
        after: bytes | str = str(max(since_ms - CLOCKS_DIFFER_MS, 0))
        of_session, until_id = "" if user else sessions[0], b""
        while after:
            args: list[Arg] = [tenant, of_session, user, after, until_id, PAGE_ROWS, self._index_ms]
            after, changed, until_id = await UNNAME_ROWS(self._rows, [keys.LEDGER, keys.ROW_INDEX], args)
            total += changed
        return total

    async def _indexed(self, session: SessionKey, user: str) -> int:
        names = [keys.LEDGER, keys.ROW_INDEX, named_rows_key(session)]
        total = skip = 0
        while skip >= 0:
            args: list[Arg] = [session.tenant, session.session, user, skip, PAGE_ROWS]
            skip, changed = await UNNAME_SESSION(self._rows, names, args)
            total += changed
        return total
