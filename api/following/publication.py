"""What an append publishes to the readers of a turn: `<attempt>-<first seq>`, then one event a line."""

from collections.abc import Iterator, Sequence
from typing import Self

import msgspec

from turnwire.shared.events import Cursor, Entry, is_terminal


class Publication(msgspec.Struct, frozen=True):
    """Events that were appended together. Their ids are dense: the first one's seq counts up."""

    attempt: int
    seq: int
    entries: list[Entry]
    size: int  # bytes
    before: Cursor | None  # where a reader stands for whom it is what comes next; None: at the start
    last: Cursor  # of its last event
    terminal: bool  # it ends the log

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a message of the turn's channel."""
        head, *events = payload.split(b"\n")
        attempt, seq = (int(number) for number in head.split(b"-"))
        entries = [Entry(b"%d-%d" % (attempt, seq + place), event) for place, event in enumerate(events)]
        before = Cursor(attempt, seq - 1) if seq else None
        last = Cursor(attempt, seq + len(entries) - 1)
        return cls(attempt, seq, entries, len(payload), before, last, is_terminal(events[-1]))

    def followed_by(self, later: Sequence[Self]) -> Self:
        """One publication of this one and what continues it."""
        parts = (self, *later)
        entries = [entry for part in parts for entry in part.entries]
        size = sum(part.size for part in parts)
        return msgspec.structs.replace(
            self, entries=entries, size=size, last=later[-1].last, terminal=later[-1].terminal
        )

    def after(self, cursor: Cursor | None) -> list[Entry] | None:
        """What a reader at `cursor` has not seen; None if it cannot be told without reading the log.

        A new attempt may have discarded events, so its first publication never follows by itself.
        """
        if cursor is None:
            return self.entries if self.seq == 0 else None
        if self.attempt != cursor.attempt:
            return None if self.attempt > cursor.attempt else []
        seen = cursor.seq + 1 - self.seq
        return None if seen < 0 else self.entries[seen:]


def joined(publications: Sequence[Publication]) -> Iterator[Publication]:
    """As few as possible: those that continue one another become one."""
    start = 0
    for end in range(1, len(publications) + 1):
        if end == len(publications) or publications[end].before != publications[end - 1].last:
            first, *later = publications[start:end]
            yield first.followed_by(later) if later else first
            start = end
