"""Finds the turns that a turn follows: its parent, the parent of that one, and so on. It does no I/O.

A turn that has not run yet, or that an older version ran, has no parent in its record. It follows the latest completed
turn before it.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Self

import msgspec

from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import TurnRecord
from turnwire.shared.request import NO_PARENT

MOST_PAGES: Final = 20  # a history that is scattered among so many other branches ends there


class Found(msgspec.Struct, frozen=True):
    """A turn that is there. `record`: None if it cannot be read."""

    index: int
    parent: int | None
    record: TurnRecord | None

    @classmethod
    def of(cls, index: int, fields: Mapping[bytes, bytes], record: TurnRecord | None) -> Self:
        """Return the turn with this hash. Its parent is known even if its record cannot be read."""
        parent = fields.get(b"parent", b"")
        return cls(index, int(parent) if parent.lstrip(b"-").isdigit() else None, record)


class Ancestry:
    """Takes the turns of a session in pages, latest first, and keeps those that one turn follows.

    Attributes:
        upto: the next page begins with this index, or with the latest turn before it.
        done: True if no further page is needed.
    """

    def __init__(self, index: int, parent: int | None, limit: int) -> None:
        """`index`, `parent`: of the turn in question. `limit`: how many turns to find."""
        self._limit = limit
        self._wanted = parent  # the index of the next turn to find; None: any completed one
        self._found: list[TurnRecord] = []
        self._pages = 0
        self.upto = index - 1 if parent is None else parent
        self.done = limit == 0 or self.upto < 0

    def take(self, page: Sequence[Found], lowest: int | None) -> None:
        """Take a page, by ascending index. `lowest`: the lowest index on it; None: there are no earlier turns."""
        self._pages += 1
        for turn in reversed(page):
            if self.done:
                return
            self._look_at(turn)
        if lowest is None or lowest == 0 or self._pages == MOST_PAGES:
            self.done = True
        else:
            self.upto = lowest - 1 if self._wanted is None else self._wanted
            self.done = self.done or self.upto >= lowest  # it is not there any more: the history begins behind it

    def _look_at(self, turn: Found) -> None:
        wanted, record = self._wanted, turn.record
        if wanted is None:
            if record is None or record.status is not TurnState.COMPLETED:
                return
        elif turn.index != wanted:
            self.done = turn.index < wanted  # the wanted one is not there any more
            return
        if record is not None:
            self._found.append(record)
        self._wanted = turn.parent
        self.done = turn.parent == NO_PARENT or len(self._found) == self._limit

    def found(self) -> list[TurnRecord]:
        """Return the turns that were found, by ascending index."""
        return self._found[::-1]
