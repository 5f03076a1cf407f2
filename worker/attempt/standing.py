"""Compares the events that a resumed producer yields with those that earlier attempts left in the log. It does no I/O.

Code between steps runs again on every attempt, so the producer yields its early events again. They are compared in
order. Equal ones are in the log already. At the first one that differs, the log has to be rewound.
"""

from collections.abc import Sequence

from turnwire.shared.events import OWN_EVENT_PREFIX, Entry


class Standing:
    """The producer's events that are in the log, oldest first, and how many of them this attempt has yielded again."""

    def __init__(self, log: Sequence[Entry] = ()) -> None:
        self._before = log[0].id.decode() if log else ""
        self._events = [entry for entry in log if not entry.event.startswith(OWN_EVENT_PREFIX)]
        self._matched = 0
        self.left = bool(self._events)
        """True if there are events in the log that this attempt has not yielded yet."""

    @property
    def count_left(self) -> int:
        """How many events in the log this attempt has not yielded yet."""
        return len(self._events) - self._matched

    @property
    def last_match(self) -> str:
        """The cursor to rewind to: the last event that was yielded again, or the log's first event if none was."""
        return self._events[self._matched - 1].id.decode() if self._matched else self._before

    def matches(self, event: bytes) -> bool:
        """Return whether this is the next event in the log, so that it need not be written."""
        if self._events[self._matched].event != event:
            return False
        self._matched += 1
        self.left = self._matched < len(self._events)
        return True

    def drop_rest(self) -> None:
        """Forget the events that this attempt has not yielded, because the log was rewound."""
        del self._events[self._matched :]
        self.left = False
