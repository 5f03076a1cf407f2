"""One entry of a session's feed: a turn began to wait, to run or to be suspended, or has ended."""

import re
from typing import Final, Self

import msgspec

from turnwire.shared.errors import BadRequest
from turnwire.shared.events import Entry, encode_event
from turnwire.shared.keys import SessionKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.store.session_look import GONE, TurnStanding

TURN_EVENT_PREFIX: Final = "session.turn."
ENDED: Final = "ended"
_STATUSES: Final = (*(state.value for state in TurnState), GONE)
_CURSOR: Final = re.compile(rf"([0-9]{{1,16}})-([0-9]{{1,10}})-([0-9]{{1,16}})-({'|'.join(_STATUSES)})\Z")


class ChangeCursor(msgspec.Struct, frozen=True):
    """The id of a change: when it was, of which turn, and to what. It tells where a client continues."""

    at_ms: int
    index: int
    attempt: int
    status: str

    @classmethod
    def of(cls, turn: TurnStanding) -> Self:
        """Return the cursor of the change with which the turn came to where it stands."""
        return cls(turn.updated_at, turn.index, turn.attempt, turn.status)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a client's cursor.

        Raises:
            BadRequest: it is not the id of a change.
        """
        match = _CURSOR.match(text)
        if match is None:
            raise BadRequest("a cursor of a session must be the id of one of its events")
        return cls(int(match[1]), int(match[2]), int(match[3]), match[4])

    def __str__(self) -> str:
        return f"{self.at_ms}-{self.index}-{self.attempt}-{self.status}"

    def is_before(self, turn: TurnStanding) -> bool:
        """Whether a client with this cursor may not know yet where the turn stands.

        Of two turns that changed in the same millisecond, it may know both. Then it is told of one of them again.
        """
        return turn.updated_at >= self.at_ms and ChangeCursor.of(turn) != self


class Change(msgspec.Struct, frozen=True):
    """A change, and the event that tells it."""

    turn: TurnStanding
    cursor: ChangeCursor
    entry: Entry

    @classmethod
    def of(cls, session: SessionKey, turn: TurnStanding) -> Self:
        """Return the change with which the turn came to where it stands."""
        cursor = ChangeCursor.of(turn)
        data = {
            "turnIndex": turn.index,
            "runId": session.turn(turn.index).run_id,
            "status": turn.status,
            "attempt": turn.attempt,
            "parent": turn.parent,
            "updatedAt": turn.updated_at,
        }
        kind = TURN_EVENT_PREFIX + (ENDED if turn.is_over else turn.status)
        return cls(turn, cursor, Entry(str(cursor).encode(), encode_event(kind, data)))

    @property
    def place(self) -> tuple[int, int]:
        """Sorts changes: by time, then by index."""
        return self.turn.updated_at, self.turn.index
