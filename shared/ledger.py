"""The ledger: one row for each attempt that has ended, and the sums of such rows.

The script that ends an attempt writes its row, once (store/lua/parts/ledger.lua). This module decodes rows, and encodes
what a worker tells those scripts. A new field goes into `LedgerRow` here and into `add_row` in that Lua part. If only
the worker knows its value, the field goes into `encode_use`, too.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, Self

import msgspec

from turnwire.shared.usage import Usage

Outcome = Literal["completed", "failed", "cancelled", "suspended", "handover", "crashed", "diverged"]


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt's use and cost, as the script writes it. None means unknown. Times are in ms of Redis time."""

    attempt: int
    turn_created_at: int  # identifies the row together with run_id and attempt: an erased session may get its ids again
    partial: bool  # the attempt may have used more: its worker died, and only its checkpoints are known
    model_calls: int | None
    tokens_in: int | None
    tokens_out: int | None
    cost_nanos: int | None  # billionths of `currency`
    currency: str | None
    price_version: str | None
    model_called: str | None  # None if no model was called, or several
    cached_tokens: int | None = None  # of `tokens_in`
    reasoning_tokens: int | None = None  # of `tokens_out`
    finish_reason: str | None = None  # why the answer of the last call ended, in the model server's own word
    first_event_ms: int | None  # from the attempt's start to the producer's first event
    first_token_ms: int | None  # from the attempt's start to the first piece of text
    run_id: str
    session_id: str
    tenant_id: str
    outcome: Outcome
    code: str | None  # why the attempt failed
    project: str | None
    user: str | None
    model: str | None  # the model that the client asked for
    turn_index: int
    started_at: int
    ended_at: int  # for a crashed attempt, the time at which another worker found it dead
    wall_ms: int

    @property
    def usage(self) -> Usage:
        """The known part of what the attempt used."""
        if self.model_calls is None:
            return Usage(partial=self.partial)
        return msgspec.convert(self, Usage, from_attributes=True)


class LedgerRows(msgspec.Struct, frozen=True):
    """The rows of a turn, oldest first."""

    rows: list[LedgerRow]


class UsageSums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of ledger rows. They leave unknown numbers out, so they are exact only if the last two counts are 0."""

    rows: int = 0
    model_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cached_tokens: int = 0  # of `tokens_in`, as far as model servers reported them
    reasoning_tokens: int = 0  # of `tokens_out`, as far as model servers reported them
    cost_nanos: dict[str, int] = {}  # currency -> billionths of it
    rows_tokens_unknown: int = 0
    rows_cost_unknown: int = 0

    @classmethod
    def from_hash(cls, fields: Mapping[bytes, bytes], prefix: str = "") -> Self:
        """Read the fields that `add_to_sums` wrote (store/lua/parts/sums.lua)."""
        sums = {
            name.decode().removeprefix(prefix): int(value)
            for name, value in fields.items()
            if name.startswith(prefix.encode())
        }
        costs = {name.removeprefix("cost_nanos:"): value for name, value in sums.items() if ":" in name}
        return msgspec.convert(sums | {"cost_nanos": costs}, cls)


_row = msgspec.json.Decoder(LedgerRow)


def decode_row(row: bytes) -> LedgerRow:
    """Read a row as Redis keeps it."""
    return _row.decode(row)


def encode_use(usage: Usage, *, first_event_ms: int | None = None, first_token_ms: int | None = None) -> bytes:
    """Encode the part of a row that only the worker knows, for the script that ends its attempt.

    The arguments are the fields of LedgerRow. Returns: a JSON object whose values are texts, without the unknown ones.
    """
    latency = {"first_event_ms": first_event_ms, "first_token_ms": first_token_ms}
    return _texts({**msgspec.structs.asdict(usage), **latency})


def encode_progress(attempt: int, usage: Usage) -> bytes:
    """Encode what an attempt has used so far, for its checkpoint. If its worker dies, this is all that its row holds.

    Returns: a JSON object whose values are texts, without the unknown ones.
    """
    return _texts({"attempt": attempt, **msgspec.structs.asdict(usage)})


def _texts(fields: Mapping[str, bool | int | str | None]) -> bytes:
    """Encode all values as texts, because Lua's numbers are doubles and would round large ones. None is left out."""
    texts = {
        name: str(value).lower() if value is True or value is False else str(value)
        for name, value in fields.items()
        if value is not None
    }
    return msgspec.json.encode(texts)


def usage_of(rows: Iterable[bytes]) -> Usage:
    """Return the sum of what these attempts used. `rows` are ledger rows as Redis keeps them."""
    used = Usage()
    for row in rows:
        used.add(decode_row(row).usage)
    return used


def ran_ms(rows: Iterable[bytes], since_ms: int) -> int:
    """Return how long, in ms, the attempts ran that began at `since_ms` or later.

    The time that the turn waited between two attempts does not count.
    """
    decoded = map(decode_row, rows)
    return sum(row.wall_ms for row in decoded if row.started_at >= since_ms)
