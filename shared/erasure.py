"""Erasures: what was asked for, what the product is told, and the receipt that the client gets."""

import msgspec

from turnwire.shared.keys import DEFAULT_POOL


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure, as the hook `on_erase` gets it.

    Attributes:
        id: the id of the receipt. It is the same each time the hook is called for this erasure.
        tenant_id: the tenant whose data was erased.
        user: the user whose data was erased; None if one session was erased.
        sessions: the ids of the erased sessions that Turnwire knew. The product may know more sessions of the user.
        requested_at: when it was asked for, in ms of Redis time.
    """

    id: str
    tenant_id: str
    user: str | None
    sessions: list[str]
    requested_at: int


class KeptErasure(msgspec.Struct, frozen=True, kw_only=True):
    """What Redis keeps of an erasure until the product has followed it.

    `user_digests`: they stand for the users of its turns. `projects`: those of its turns that the product has not been
    told of yet; empty if no turn was left, so that every product has to be told. `pool`: whose workers tell it.
    `since_ms`: no ledger row of the sessions is older. The three numbers are those of the receipt.
    """

    id: str
    tenant_id: str
    user: str | None
    sessions: list[str]
    user_digests: list[str]
    projects: list[str | None]
    pool: str = DEFAULT_POOL
    since_ms: int = 0
    found_sessions: int = 0
    found_turns: int = 0
    found_open_turns: int = 0

    def told(self, requested_at: int) -> Erasure:
        """Return the erasure as the hook gets it."""
        return Erasure(
            id=self.id, tenant_id=self.tenant_id, user=self.user, sessions=self.sessions, requested_at=requested_at
        )


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased. `requested_at`: in ms of Redis time; what was written before is gone.

    `sessions`, `turns`: how many there were. `open_turns`: how many of these turns had not ended, and were stopped.
    `ledger_rows`: how many published rows this request has changed, so that they do not name their user any more. The
    id is also in the audit stream, and the product's hook gets it. If the request before was interrupted, this is the
    receipt of that erasure, which is finished now.
    """

    id: str
    tenant_id: str
    session_id: str | None
    user: str | None
    requested_at: int
    sessions: int
    turns: int
    open_turns: int
    ledger_rows: int
