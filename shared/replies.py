"""The answers of the store and of the queue that have more than one value."""

from enum import StrEnum
from typing import Literal

import msgspec

from turnwire.shared.keys import TurnKey
from turnwire.shared.lanes import DEFAULT_LANE, Lane
from turnwire.shared.model import Claimed, TurnRecord


class CancelVerdict(StrEnum):
    """The effect of a cancel request."""

    ENDED = "ended"  # none: the turn was terminal already
    CANCELLED = "cancelled"  # no worker ran the turn, so it is terminal now
    REQUESTED = "requested"  # the turn's worker is told to stop


class Cancelled(msgspec.Struct, frozen=True):
    """The answer to a cancel request. `woken`: the session's turns that may be able to run now."""

    verdict: CancelVerdict
    woken: list[int] = []


class Signalled(msgspec.Struct, frozen=True):
    """The answer to a signal. `stored` is the first signal with this key: JSON `{payload, emitted_at}`."""

    first: bool  # this signal is the first one with its key, and was stored
    stored: bytes
    enqueue: bool  # the turn waited for it and is queued now: it needs a job
    lane: Lane = DEFAULT_LANE  # of the turn


class PersistTry(msgspec.Struct, frozen=True):
    """The answer to the beginning of a try to persist an answer. `tries`: how many have begun.

    The try may begin if `wait_ms` and `limit` are 0. Otherwise it is too early by `wait_ms`, or workers died over this
    job, and its next one may run at most `limit` jobs, all of them suspects.
    """

    tries: int
    wait_ms: int = 0
    limit: int = 0


class Settled(msgspec.Struct, frozen=True):
    """The attempt is settled. `woken`: the session's turns that may be able to run now."""

    woken: list[int]
    row: bytes  # the attempt's ledger row


class GivenUp(msgspec.Struct, frozen=True):
    """The turn is suspended, and its lease is gone."""

    row: bytes  # the attempt's ledger row


class Rewound(msgspec.Struct, frozen=True):
    """Events at the end of the log were deleted, and the same worker runs the turn in a new attempt."""

    claimed: Claimed
    row: bytes  # the ledger row of the attempt that ended with this


class Suspect(msgspec.Struct, frozen=True):
    """Workers died twice while they ran the turn. Its next one may run at most `limit` jobs, all of them suspects."""

    limit: int


class Due(msgspec.Struct, frozen=True):
    """The open jobs that the sweep should look at."""

    jobs: list[tuple[str, str]]  # (job id, mark for `forget`) of each
    next_ms: int | None  # in how many ms the next one is due, None if there is none; or when to ask again: see `sweeps`
    sweeps: bool  # False: another worker sweeps; this one should ask again in about `next_ms`


class Watched(msgspec.Struct, frozen=True):
    """What a worker sees when it looks at others."""

    queued: int  # how many jobs there are, waiting or running
    sweeps: bool  # the worker that asks is the one that sweeps
    looked_at: int  # how many workers were looked at
    server: str  # the run id of the server process that has been asked; empty if nobody is missing
    missing: dict[str, bytes]  # id of a worker whose process holds no connection -> the entry of its last heartbeat


class Submitted(msgspec.Struct, frozen=True):
    """The outcome of a submit. `mark` identifies this submit among all submits of the turn.

    `completed`: the turn, if it is completed.
    """

    verdict: Literal["created", "reopened", "attached", "running", "replay"]
    key: TurnKey
    attempt: int
    mark: str
    completed: TurnRecord | None = None
