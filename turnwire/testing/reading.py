"""A client that is connected from the first event on and follows the rules for cursors, and checks of its log."""

from collections.abc import Sequence

import msgspec

from turnwire.shared.events import RUN_RESUMED, ChatStreamEvent, Cursor, Entry, is_terminal
from turnwire.shared.keys import TurnKey


class Event(msgspec.Struct, frozen=True):
    """One event of a turn's log. `id` is its cursor, `<attempt>-<seq>`."""

    id: str
    type: str
    data: dict[str, object]

    @property
    def attempt(self) -> int:
        """The attempt that wrote it."""
        return Cursor.parse(self.id).attempt

    @property
    def seq(self) -> int:
        """Its place in the log, from 0."""
        return Cursor.parse(self.id).seq


def event_of(entry: Entry) -> Event:
    """Decode an entry of the log."""
    event = msgspec.json.decode(entry.event, type=ChatStreamEvent)
    return Event(entry.id.decode(), event.type, event.data)


class Reader:
    """Takes each publication of a turn's log, as the API would pass it on.

    It skips events that it has already. At `session.run.resumed` it drops the events after the cursor `after`.
    """

    def __init__(self, key: TurnKey) -> None:
        self._key = key
        self.entries: list[tuple[Cursor, bytes]] = []

    def __call__(self, key: TurnKey, first: Cursor, events: Sequence[bytes]) -> None:
        """Take a publication."""
        if key != self._key:
            return
        for seq, event in enumerate(events, first.seq):
            cursor = Cursor(first.attempt, seq)
            if self.entries and cursor <= self.entries[-1][0]:
                continue
            decoded = msgspec.json.decode(event, type=ChatStreamEvent)
            if decoded.type == RUN_RESUMED:
                after = Cursor.parse(str(decoded.data["after"]))
                self.entries = [entry for entry in self.entries if entry[0] <= after]
            self.entries.append((cursor, event))

    def flaws_beside(self, log: Sequence[Entry]) -> list[str]:
        """Return how this client's events differ from those of a fresh reader; empty if they are the same."""
        theirs = [(Cursor.parse(entry.id.decode()), entry.event) for entry in log]
        if self.entries == theirs:
            return []
        mine = ", ".join(str(cursor) for cursor, _ in self.entries)
        return [f"a connected client has other events than a fresh reader: {mine}"]


def flaws_of_log(log: Sequence[Entry], *, ended: bool) -> list[str]:
    """Return the flaws of a log as a fresh reader sees it; empty if it is whole."""
    cursors = [Cursor.parse(entry.id.decode()) for entry in log]
    flaws = []
    if [cursor.seq for cursor in cursors] != list(range(len(cursors))):
        flaws.append(f"the log has a gap or a duplicate: {', '.join(map(str, cursors))}")
    if cursors != sorted(cursors):
        flaws.append(f"the log is out of order: {', '.join(map(str, cursors))}")
    ends = [number for number, entry in enumerate(log) if is_terminal(entry.event)]
    if ends != ([len(log) - 1] if ended else []):
        flaws.append(f"the log has {len(ends)} terminal events, or one that is not the last")
    return flaws
