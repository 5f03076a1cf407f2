"""The message that an append publishes to a turn's readers: `<attempt>-<first seq>`, then an event on each line."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Self

import msgspec

from turnwire.shared.events import Cursor, Entry, is_terminal

_HEAD: Final = re.compile(rb"([1-9][0-9]{0,18})-(0|[1-9][0-9]{0,18})\Z")
ERASED: Final = b"erased"  # erase.lua publishes it on a turn's channel


class Publication(msgspec.Struct, frozen=True):
    """Events that were appended together. Their ids are dense: each seq is one more than the seq before."""

    attempt: int
    seq: int
    entries: list[Entry]
    size: int  # of the message, in bytes
    before: Cursor | None  # the cursor that it continues; None: it starts the log
    last: Cursor  # the cursor of its last event
    terminal: bool  # whether it ends the log

    @classmethod
    def parse(cls, payload: bytes) -> Self | None:
        """Read a message of the turn's channel. Returns None if it is not a publication of this version."""
        head, *events = payload.split(b"\n")
        match = _HEAD.match(head)
        if match is None or not events or payload.count(b'\n{"type":"') != len(events):
            return None
        attempt, seq = int(match[1]), int(match[2])
        entries = [Entry(b"%d-%d" % (attempt, seq + place), event) for place, event in enumerate(events)]
        before = Cursor(attempt, seq - 1) if seq else None
        last = Cursor(attempt, seq + len(entries) - 1)
        return cls(attempt, seq, entries, len(payload), before, last, is_terminal(events[-1]))

    def opened(self, open_event: Callable[[bytes], bytes]) -> Self:
        """Return the same publication with decrypted events."""
        return msgspec.structs.replace(
            self, entries=[Entry(entry.id, open_event(entry.event)) for entry in self.entries]
        )

    def followed_by(self, later: Sequence[Self]) -> Self:
        """Return one publication with the events of this one and of `later`, which continue it."""
        parts = (self, *later)
        entries = [entry for part in parts for entry in part.entries]
        size = sum(part.size for part in parts)
        return msgspec.structs.replace(
            self, entries=entries, size=size, last=later[-1].last, terminal=later[-1].terminal
        )

    def after(self, cursor: Cursor | None) -> list[Entry] | None:
        """Return the events that a reader at `cursor` has not seen; None if the reader has to read the log.

        A new attempt may have discarded events, so a reader reads the log whenever the attempt changes.
        """
        if cursor is None:
            return self.entries if self.seq == 0 else None
        if self.attempt != cursor.attempt:
            return None if self.attempt > cursor.attempt else []
        seen = cursor.seq + 1 - self.seq
        return None if seen < 0 else self.entries[seen:]


def joined(publications: Sequence[Publication]) -> Iterator[Publication]:
    """Yield the same events in as few publications as possible: those that continue one another become one."""
    start = 0
    for end in range(1, len(publications) + 1):
        if end == len(publications) or publications[end].before != publications[end - 1].last:
            first, *later = publications[start:end]
            yield first.followed_by(later) if later else first
            start = end
