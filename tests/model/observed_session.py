"""Reads everything that Redis holds of a session in one round trip, and the same from the store in memory."""

from dataclasses import dataclass
from typing import Any

import msgspec
from redis.commands.core import Script

from tests.support.expiry import EXPIRE_AT
from turnwire.shared.events import Cursor, is_terminal
from turnwire.shared.keys import SUSPENDED_INDEX, SessionKey
from turnwire.shared.ledger import LedgerRow, decode_row
from turnwire.shared.lifecycle import TERMINAL_STATES
from turnwire.shared.model import Signal
from turnwire.testing.memory import MemorySession, MemoryTurn

NO_KEY, NO_TTL = -2, -1


@dataclass(frozen=True)
class Stored:
    """A turn's keys as Redis gives them; equal ones, nothing was written in between."""

    record: dict[bytes, bytes]
    lease: bytes | None
    steps: dict[bytes, bytes]
    log: list[tuple[bytes, list[bytes]]]  # id, ["e", event]
    signals: dict[bytes, bytes]
    ledger: dict[bytes, bytes]
    ends: tuple[int, ...]  # when these keys expire, ms: record, steps, events, signals, ledger; and the lease

    def text(self, name: str) -> str | None:
        value = self.record.get(name.encode())
        return None if value is None else value.decode()

    @property
    def is_open(self) -> bool:
        return self.text("status") not in TERMINAL_STATES

    @property
    def events(self) -> list[tuple[Cursor, bytes]]:
        return [(Cursor.parse(entry_id.decode()), event) for entry_id, (_, event) in self.log]


@dataclass(frozen=True)
class StoredSession:
    """A session's own keys, and its turns by index."""

    record: dict[bytes, bytes]
    indexes: list[int]
    open: list[int]
    ends: tuple[int, ...]  # record, turns, open, numbering
    numbering: bytes | None
    turns: dict[int, Stored]
    suspended: dict[bytes, bytes]  # the index of suspended turns: entry -> since when
    lines: dict[bytes, bytes]  # and how many there are of each pool and tenant


LOOK = (
    EXPIRE_AT
    + """
local session = {redis.call('HGETALL', KEYS[1])}
session[2], session[3] = redis.call('ZRANGE', KEYS[2], 0, -1), redis.call('ZRANGE', KEYS[3], 0, -1)
session[4] = redis.call('GET', KEYS[4])
local turns = {}
session[5] = redis.call('ZRANGE', KEYS[5], 0, -1, 'WITHSCORES')
session[6] = redis.call('ZRANGE', KEYS[6], 0, -1, 'WITHSCORES')
for i = 7, #KEYS, 6 do
    local turn, steps, events, signals, ledger, lease = unpack(KEYS, i, i + 5)
    turns[#turns + 1] = {redis.call('HGETALL', turn), redis.call('GET', lease), redis.call('HGETALL', steps),
                         redis.call('XRANGE', events, '-', '+'), redis.call('HGETALL', signals),
                         redis.call('HGETALL', ledger)}
end
return {session, turns, expire_at(KEYS)}
"""
)  # one call: it is made after every action


def observe(look: Script, session: SessionKey, count: int) -> StoredSession:
    """Read everything; turns from 0 to `count` - 1."""
    keys = [session.record, session.turns, session.open, session.numbering, *SUSPENDED_INDEX]
    for index in range(count):
        key = session.turn(index)
        keys += [key.record, key.steps, key.events, key.signals, key.ledger, key.lease]
    (record, indexes, open_indexes, numbering, suspended, lines), found, ends = look(keys)
    turns = {}
    for index, (fields, lease, steps, log, signals, ledger) in enumerate(found):
        turn_ends = tuple(ends[6 + 6 * index : 12 + 6 * index])
        if any(end != NO_KEY for end in turn_ends):
            turns[index] = Stored(pairs(fields), lease, pairs(steps), log, pairs(signals), pairs(ledger), turn_ends)
    own, opened = [int(i) for i in indexes], [int(i) for i in open_indexes]
    found_index = pairs(suspended), pairs(lines)
    return StoredSession(pairs(record), own, opened, tuple(ends[:4]), numbering, turns, *found_index)


def pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


TIMES = {"created_at", "updated_at", "started_at", "completed_at", "attempt_at", "deadline", "asked", "persist_at"}
TIMES |= {"lease_end", "followed"}
DIFFERENT = TIMES | {"lineage"}  # each store has a clock and a history of its own
ONLY_IN_REDIS = {"submit_id"}  # the store in memory loses no reply
ROW_TIMES = {"turn_created_at": 0, "started_at": 0, "ended_at": 0, "wall_ms": 0}


def timeless_fields(fields: dict[str, str]) -> dict[str, str]:
    """A hash in which the values that differ between two stores are only there or not."""
    shared = {name: value for name, value in fields.items() if name not in ONLY_IN_REDIS}
    return {name: "something" if name in DIFFERENT else value for name, value in shared.items()}


def timeless_row(row: bytes) -> LedgerRow:
    return msgspec.structs.replace(decode_row(row), **ROW_TIMES)


def timeless_signal(stored: bytes) -> Signal:
    return msgspec.structs.replace(msgspec.json.decode(stored, type=Signal), emitted_at=0)


def in_redis(stored: Stored) -> dict[str, Any]:
    """All that Redis has of a turn, without times."""
    return {
        "record": timeless_fields({name.decode(): value.decode() for name, value in stored.record.items()}),
        "lease": None if stored.lease is None else stored.lease.decode(),
        "steps": {int(position): step for position, step in stored.steps.items() if position != b"history"},
        "history": stored.steps.get(b"history"),
        "log": [(str(cursor), event) for cursor, event in stored.events],
        "signals": {key.decode(): timeless_signal(signal) for key, signal in stored.signals.items()},
        "ledger": {int(attempt): timeless_row(row) for attempt, row in stored.ledger.items()},
        "ends": stored.ends[0] != NO_TTL,
    }


def in_memory(turn: MemoryTurn, now_ms: int) -> dict[str, Any]:
    """The same of the store in memory."""
    return {
        "record": timeless_fields(turn.fields),
        "lease": turn.holder(now_ms),
        "steps": turn.steps,
        "history": turn.history,
        "log": [(str(cursor), event) for cursor, event in turn.log or []],
        "signals": {key: timeless_signal(signal) for key, signal in turn.signals.items()},
        "ledger": {attempt: timeless_row(row) for attempt, row in turn.ledger.items()},
        "ends": turn.ends_ms is not None,
    }


def session_in_redis(session: StoredSession) -> dict[str, Any]:
    """A session, without times."""
    return {
        "record": timeless_fields({name.decode(): value.decode() for name, value in session.record.items()}),
        "indexes": session.indexes,
        "open": session.open,
        "ends": session.ends[0] >= 0,
        "numbering": None if session.numbering is None else session.numbering.decode(),
        "turns": {index: in_redis(turn) for index, turn in session.turns.items()},
    }


def session_in_memory(session: MemorySession | None, now_ms: int, numbering: str | None) -> dict[str, Any]:
    """The same of the store in memory."""
    found = session or MemorySession()
    return {
        "record": timeless_fields(found.fields),
        "indexes": sorted(found.indexes),
        "open": sorted(found.open),
        "ends": found.ends_ms is not None,
        "numbering": numbering,
        "turns": {index: in_memory(turn, now_ms) for index, turn in found.turns.items()},
    }


def check_log(stored: Stored) -> None:
    """Dense, in order, one end."""
    cursors = [cursor for cursor, _ in stored.events]
    assert cursors == sorted(cursors)
    assert [cursor.seq for cursor in cursors] == list(range(len(cursors))), "a reader sees seq 0, 1, 2, …"
    ends = [number for number, (_, event) in enumerate(stored.events) if is_terminal(event)]
    assert ends == ([] if stored.is_open else [len(cursors) - 1]), "one terminal event, the last, once it has ended"
    before = ""
    for cursor, event in stored.events:
        data = msgspec.json.decode(event)
        if data["type"] == "session.run.resumed":
            assert data["data"]["after"] == before, "a client drops exactly what does not stand"
        before = str(cursor)


def check_ledger(session: StoredSession) -> None:
    """Each attempt that has ended has its row, and each row was counted once."""
    rows = 0
    for turn in session.turns.values():
        ended = int(turn.text("attempt") or 0) - (turn.text("status") == "running")
        assert sorted(map(int, turn.ledger)) == list(range(1, ended + 1))
        rows += ended
    assert int(session.record.get(b"usage:rows", 0)) == rows


def check_suspended(session: StoredSession) -> None:
    """The index of suspended turns holds exactly those, and counts them."""
    run_ids = {turn.text("run_id") for turn in session.turns.values() if turn.text("status") == "suspended"}
    assert {entry.decode() for entry in session.suspended} == {f"default {run_id}" for run_id in run_ids}
    assert session.lines == ({b"default default": b"%d" % len(run_ids)} if run_ids else {})


def check_lifetimes(session: StoredSession) -> None:
    """Open turns stay; ended ones, and a session without open ones, go by themselves."""
    record_end, turns_end, _, numbering_end = session.ends
    assert numbering_end != NO_TTL
    for index, turn in session.turns.items():
        *lasting, lease_end = turn.ends
        assert index in session.indexes, "keys of a turn that is not there"
        assert lease_end != NO_TTL
        for end in lasting:
            assert end == NO_KEY or (end == NO_TTL) is turn.is_open, (index, turn.ends)
            assert turn.is_open or end <= min(record_end, turns_end) or NO_TTL in (record_end, turns_end), index
    if session.record or session.indexes:
        assert (record_end == NO_TTL) is bool(session.open)
        assert turns_end == NO_KEY or (turns_end == NO_TTL) is bool(session.open)
