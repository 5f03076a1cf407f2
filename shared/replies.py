"""What the store answers to a write of a turn, where the answer has more than one part."""

from enum import StrEnum

import msgspec

from turnwire.shared.model import Claimed


class CancelVerdict(StrEnum):
    """What a cancel request found."""

    ENDED = "ended"  # the turn was terminal already
    CANCELLED = "cancelled"  # nobody ran it, so it is terminal now
    REQUESTED = "requested"  # its worker is told to stop


class Cancelled(msgspec.Struct, frozen=True):
    """The answer to a cancel request. `next_index`: the turn of the session that may run now, if there is one."""

    verdict: CancelVerdict
    next_index: int | None = None


class Signalled(msgspec.Struct, frozen=True):
    """The answer to a signal. `stored`: JSON `{payload, emitted_at}` of the first signal with this key."""

    first: bool  # this signal is the first one with its key, and was stored
    stored: bytes
    enqueue: bool  # the turn waited for it and is queued now: it needs a job


class PersistTry(msgspec.Struct, frozen=True):
    """A try to persist an answer begins, if `wait_ms` is 0; else it is too early by so much. `tries` have begun."""

    tries: int
    wait_ms: int = 0


class Settled(msgspec.Struct, frozen=True):
    """An attempt was settled. `next_index`: the turn of the session that may run now, if there is one."""

    next_index: int | None
    row: bytes  # the attempt's ledger row


class GivenUp(msgspec.Struct, frozen=True):
    """The turn is suspended. Its lease is gone."""

    row: bytes  # the attempt's ledger row


class Rewound(msgspec.Struct, frozen=True):
    """Events at the end of the log were deleted, and the same worker has the turn as its next attempt."""

    claimed: Claimed
    row: bytes  # the ledger row of the attempt before
