"""What one look at the turns of a session has found, for those who follow it."""

from collections.abc import Sequence
from typing import Final

import msgspec

from turnwire.shared.lifecycle import TERMINAL_STATES, TurnState

LOOKED_AT: Final = 200  # turns in one call, so that Redis can serve other clients in between
FOLLOWED_MS: Final = 30_000  # how long a look lets `submit` tell of new turns; longer than the pause between two looks
GONE: Final = "gone"  # the status of a turn that is no more, because its submit was taken back
_TERMINAL: Final = frozenset(state.value for state in TERMINAL_STATES)
_STATUSES: Final = frozenset(state.value for state in TurnState)


class TurnStanding(msgspec.Struct, frozen=True):
    """How far a turn is: its status since `updated_at` (Redis time, ms), and its parent, None if it is not decided."""

    index: int
    status: str
    attempt: int
    updated_at: int
    parent: int | None

    @property
    def is_over(self) -> bool:
        """Whether the turn has ended or is gone."""
        return self.status in _TERMINAL or self.status == GONE


class Look(msgspec.Struct, frozen=True):
    """The turns of a session that somebody asked for, as they were at `at_ms`, by index.

    `created_at`: of the session. An erased session that begins again has another one.
    """

    created_at: int
    at_ms: int
    turns: dict[int, TurnStanding]


def read_standings(fields: Sequence[bytes]) -> list[TurnStanding]:
    """Read the turns of a reply of look.lua. One whose status no version knows is left out."""
    rows = zip(*(fields[place::5] for place in range(5)), strict=True)
    read = [[value.decode() for value in row] for row in rows]
    return [
        TurnStanding(int(index), status or GONE, int(attempt), int(updated_at), int(parent) if parent else None)
        for index, status, attempt, updated_at, parent in read
        if not status or status in _STATUSES
    ]
