"""The states of a turn, and every way from one state to another.

Rule 1: this table decides. The scripts in shared/store/lua implement it, and a test compares them with it.
Rule 2: nothing else changes a state. A change that is not in the table is refused, or has no effect.
"""

from enum import StrEnum
from typing import Final


class TurnState(StrEnum):
    """The state of a turn. The last three are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Change(StrEnum):
    """An occurrence that may change the state of a turn."""

    CLAIM = "claim"  # a worker takes it, or takes it over from a dead one
    HANDOVER = "handover"  # a draining worker gives it back
    SUSPEND = "suspend"  # it waits for a signal
    SIGNAL = "signal"  # the signal, or its timeout, arrived
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    ASK_AGAIN = "ask_again"  # the client repeats the same request
    REFUSE = "refuse"  # it was asked again, but the queue is full


TERMINAL_STATES: Final = frozenset({TurnState.COMPLETED, TurnState.FAILED, TurnState.CANCELLED})

TRANSITIONS: Final[dict[tuple[TurnState, Change], TurnState]] = {
    (TurnState.QUEUED, Change.CLAIM): TurnState.RUNNING,
    (TurnState.QUEUED, Change.CANCEL): TurnState.CANCELLED,
    (TurnState.QUEUED, Change.REFUSE): TurnState.FAILED,
    (TurnState.RUNNING, Change.CLAIM): TurnState.RUNNING,  # takeover: the lease ended
    (TurnState.RUNNING, Change.HANDOVER): TurnState.QUEUED,
    (TurnState.RUNNING, Change.SUSPEND): TurnState.SUSPENDED,
    (TurnState.RUNNING, Change.COMPLETE): TurnState.COMPLETED,
    (TurnState.RUNNING, Change.FAIL): TurnState.FAILED,
    (TurnState.RUNNING, Change.CANCEL): TurnState.CANCELLED,
    (TurnState.SUSPENDED, Change.SIGNAL): TurnState.QUEUED,
    (TurnState.SUSPENDED, Change.CANCEL): TurnState.CANCELLED,
    (TurnState.FAILED, Change.ASK_AGAIN): TurnState.QUEUED,
    (TurnState.CANCELLED, Change.ASK_AGAIN): TurnState.QUEUED,
}
