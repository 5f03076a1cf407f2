"""Compares what a resumed producer yields with the events that stand from earlier attempts. Pure.

Code between steps runs again on every attempt, so the producer yields its early events again. They are compared in
order: equal ones are in the log already; at the first different one the log has to be rewound to there.
"""

from collections.abc import Sequence

from turnwire.shared.events import OWN_PREFIX, Entry


class Standing:
    """The producer's events that stand, oldest first, and how many of them this attempt has yielded again."""

    def __init__(self, log: Sequence[Entry] = ()) -> None:
        self._before = log[0].id.decode() if log else ""
        self._events = [entry for entry in log if not entry.event.startswith(OWN_PREFIX)]
        self._matched = 0

    @property
    def left(self) -> bool:
        """There are events that this attempt has not come to yet."""
        return self._matched < len(self._events)

    @property
    def last_match(self) -> str:
        """The cursor to rewind to: of the last event that was yielded again, else of the log's first event."""
        return self._events[self._matched - 1].id.decode() if self._matched else self._before

    def matches(self, event: bytes) -> bool:
        """True if this is the next event that stands: nothing has to be written."""
        if self._events[self._matched].event != event:
            return False
        self._matched += 1
        return True

    def drop_rest(self) -> None:
        """The rest was rewound."""
        del self._events[self._matched :]
