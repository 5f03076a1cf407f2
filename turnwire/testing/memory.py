"""The data of the memory store: the content of the keys that sessions and turns have in Redis, as Python objects.

A turn's `fields` have the names and the text values of the turn hash, so the two can be compared field by field.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from turnwire.shared.events import Cursor
from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.lanes import Lane
from turnwire.testing.clock import ManualClock
from turnwire.testing.memory_findings import MemoryFindings

Published: TypeAlias = Callable[[TurnKey, Cursor, Sequence[bytes]], None]


@dataclass
class MemoryTurn:
    """One turn. All its data expires together, at `ends_ms`; None while the turn is open."""

    fields: dict[str, str] = field(default_factory=dict)
    log: list[tuple[Cursor, bytes]] | None = None  # None: nothing was ever written
    last_id: Cursor = Cursor(0, 0)  # noqa: RUF009 - frozen. The log takes no id that is not greater, also after a cut
    steps: dict[int | str, bytes] = field(default_factory=dict)  # position -> StepRecord as JSON
    history: bytes | None = None  # the messages that the producer sees, as JSON
    signals: dict[str, bytes] = field(default_factory=dict)  # key -> Signal as JSON
    ledger: dict[int, bytes] = field(default_factory=dict)  # attempt -> LedgerRow as JSON
    ends_ms: int | None = None
    lease: tuple[str, int] | None = None  # its value, and when it ends

    @property
    def lane(self) -> Lane:
        """Which workers take the turn, and how soon."""
        pool, priority = self.fields.get("pool"), self.fields.get("priority")
        return Lane.read(pool.encode() if pool else None, priority.encode() if priority else None)

    @property
    def status(self) -> str | None:
        """The name of the turn's state; None only while the turn is being made."""
        return self.fields.get("status")

    @property
    def attempt(self) -> int:
        """The number of the last attempt, 0 before the first one."""
        return int(self.fields.get("attempt", "0"))

    @property
    def is_open(self) -> bool:
        """Whether the turn has not ended."""
        return self.status in {"queued", "running", "suspended"}

    @property
    def next_seq(self) -> int:
        """The seq after the last event in the log."""
        return self.log[-1][0].seq + 1 if self.log else 0

    def holder(self, now_ms: int) -> str | None:
        """Return the value of the lease, or None if it has lapsed."""
        return self.lease[0] if self.lease is not None and self.lease[1] > now_ms else None


@dataclass
class MemorySession:
    """One session: its hash, the indexes of its turns and the turns themselves."""

    fields: dict[str, str] = field(default_factory=dict)
    indexes: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)
    turns: dict[int, MemoryTurn] = field(default_factory=dict)
    ends_ms: int | None = None

    @property
    def next_open(self) -> int | None:
        """The index of the earliest turn that has not ended."""
        return min(self.open, default=None)

    def drop(self, index: int) -> None:
        """Remove a turn from the indexes, with its Idempotency-Key."""
        self.indexes.discard(index)
        key = self.fields.pop(f"key_of:{index}", None)
        if key is not None:
            self.fields.pop(f"key:{key}", None)


class Memory:
    """All sessions, and the listeners that are told what is written. Several stores may share one memory."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.readers: list[Published] = []  # called with each publication of a log: the first id, and the events
        self.cancels: list[Callable[[str], None]] = []  # called with the run id of a turn that should stop
        self.findings = MemoryFindings(clock)  # of all workers about model servers
        self._sessions: dict[SessionKey, MemorySession] = {}
        self._numbering: dict[SessionKey, tuple[str, int]] = {}  # the next index, and until when it is kept (ms)
        self._last_mark = 0
        self.lineage = "1"  # the history of the data; another one may lack the last writes of the one before

    @property
    def now_ms(self) -> int:
        """The time of the clock, in ms."""
        return self.clock.now_ms

    def session(self, key: SessionKey) -> MemorySession | None:
        """Return the session, without the turns whose retention is over; None if nothing is left of it."""
        session = self._sessions.get(key)
        if session is None:
            return None
        now_ms = self.now_ms
        over = [index for index, turn in session.turns.items() if turn.ends_ms is not None and turn.ends_ms <= now_ms]
        for index in over:
            del session.turns[index]
            session.drop(index)
        if self._is_over(session.ends_ms):
            session.fields, session.indexes, session.ends_ms = {}, set(), None
        if not (session.turns or session.fields or session.indexes):
            del self._sessions[key]
            return None
        return session

    def made(self, key: SessionKey) -> MemorySession:
        """Return the session. It is made if it is not there."""
        found = self.session(key)
        return found if found is not None else self._sessions.setdefault(key, MemorySession())

    def turn(self, key: TurnKey) -> MemoryTurn | None:
        """Return the turn, or None."""
        session = self.session(key.session)
        return session.turns.get(key.index) if session is not None else None

    def next_index(self, key: SessionKey) -> str:
        """Return the index that the session gives to its next turn."""
        session, (kept, ends_ms) = self.session(key), self._numbering.get(key, ("0", 0))
        known = session.fields.get("next_index") if session is not None else None
        return known or ("0" if self._is_over(ends_ms) else kept)

    def numbering(self, key: SessionKey) -> str | None:
        """Return the next index as it is kept beside the session's hash; None if it is not there."""
        kept, ends_ms = self._numbering.get(key, (None, 0))
        return None if self._is_over(ends_ms) else kept

    def number(self, key: SessionKey, next_index: str, retention_ms: int | None) -> None:
        """Keep the next index for `retention_ms`; None: for as long as before. Index 0 is not kept."""
        ends_ms = self._numbering[key][1] if retention_ms is None else self.now_ms + retention_ms
        self._numbering[key] = next_index, ends_ms
        if next_index == "0":
            del self._numbering[key]

    def forget(self, key: SessionKey) -> bool:
        """Delete everything of a session. Returns False if there was nothing."""
        numbered = self.numbering(key) is not None
        self._numbering.pop(key, None)
        return self._sessions.pop(key, None) is not None or numbered

    def new_mark(self) -> str:
        """Return a text that differs from every earlier one: microseconds, as Redis would give them."""
        self._last_mark = max(self.now_ms * 1000, self._last_mark + 1)
        return str(self._last_mark)

    def sessions(self) -> Iterator[SessionKey]:
        """Return the keys of all sessions that are there."""
        return iter([key for key in list(self._sessions) if self.session(key) is not None])

    def _is_over(self, ends_ms: int | None) -> bool:
        return ends_ms is not None and ends_ms <= self.now_ms
