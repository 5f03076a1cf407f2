"""Writes and reads what claim.lua gets and returns."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from turnwire.shared.keys import TurnKey
from turnwire.shared.lanes import paused_field
from turnwire.shared.ledger import decode_row
from turnwire.shared.model import Claimed, Paused, StepRecord, TurnRecord, Unserved
from turnwire.shared.replies import Suspect
from turnwire.shared.store.reads import position_of

_step = msgspec.json.Decoder(StepRecord)


def read_claimed(key: TurnKey, attempt: int, worker: str, granted: Sequence[Any]) -> Claimed:
    """Return the attempt. `granted`: the script's reply after its first two parts.

    Raises:
        Exception: another version wrote the turn; see `readable`.
    """
    next_seq, now_ms, first_event, fields, steps, rows, cut, waited_ms = granted
    pairs, stored = in_pairs(fields), in_pairs(steps)
    record = TurnRecord.from_hash(key, pairs)
    assert record is not None
    history = stored.pop(b"history", None)
    ended = ledger_rows(rows)
    for row in ended.values():
        decode_row(row)
    return Claimed(
        key=key,
        attempt=attempt,
        worker=worker,
        next_seq=next_seq,
        at_ms=now_ms,
        first_event=first_event,
        record=record,
        steps={position_of(position): _step.decode(step) for position, step in stored.items()},
        rows=ended,
        history=history,
        crashes_alone=int(pairs.get(b"crashes_alone", 0)),
        checkpoints=int(pairs.get(b"checkpoints", 0)),
        cut=cut,
        waited_ms=waited_ms,
    )


def ledger_rows(flat: Sequence[bytes]) -> dict[int, bytes]:
    """Return attempt -> ledger row. `flat`: they alternate, as HGETALL returns them in a script."""
    return {int(attempt): row for attempt, row in in_pairs(flat).items()}


def in_pairs(flat: Sequence[Any]) -> dict[Any, Any]:
    """Return field -> value. In `flat`, they alternate."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def indexes_of(replied: Sequence[bytes]) -> list[int]:
    """Return the indexes of turns that a script has returned, ascending, each once."""
    return sorted(set(map(int, replied)))


def paused_args(key: TurnKey, fields: Collection[str]) -> tuple[int, bytes]:
    """Return whether the turn's tenant is paused, and the names of the paused projects as JSON."""
    if not fields:
        return 0, b""
    prefix = paused_field("project", "")
    projects = [field.removeprefix(prefix) for field in fields if field.startswith(prefix)]
    is_paused = paused_field("tenant", key.session.tenant) in fields
    return int(is_paused), msgspec.json.encode(projects) if projects else b""


def not_started(key: TurnKey, reply: Sequence[Any]) -> Paused | Unserved | Suspect:
    """Read why a turn that could run was not started."""
    match reply:
        case [b"paused", b"tenant", _, since_us]:
            return Paused("tenant", key.session.tenant, int(since_us))
        case [b"paused", _, project, since_us]:
            return Paused("project", project.decode(), int(since_us))
        case [b"unserved", waited_ms, project]:
            return Unserved(project.decode(), max(waited_ms, 0))
    return Suspect(reply[1])
