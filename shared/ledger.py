"""The ledger: one row for each attempt of each turn that has ended, and the sums of such rows.

A row is written by the script that ends the attempt (store/lua/parts/ledger.lua), in Redis, once. Here it is read, and
here is made what scripts are told. A new field goes into `LedgerRow` and into that part's `add_row`; if the worker
knows it, into `encode_use`, too.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, Self

import msgspec

from turnwire.shared.model import Usage

Outcome = Literal["completed", "failed", "cancelled", "suspended", "handover", "crashed", "diverged"]


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt used and cost, as the script writes it. None is unknown; times are Redis time, ms."""

    attempt: int
    turn_created_at: int  # names the row, with run_id and attempt: the ids of an erased session may come again
    partial: bool  # the attempt may have used more: its worker died, and only its checkpoints tell
    model_calls: int | None
    tokens_in: int | None
    tokens_out: int | None
    cost_nanos: int | None  # billionths of `currency`
    currency: str | None
    price_version: str | None
    model_called: str | None  # None if no model was called, or several
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
    ended_at: int  # of a crashed attempt: when it was found dead
    wall_ms: int

    @property
    def usage(self) -> Usage:
        """What is known of the attempt's use."""
        if self.model_calls is None:
            return Usage()
        return msgspec.convert(self, Usage, from_attributes=True)


class LedgerRows(msgspec.Struct, frozen=True):
    """The rows of a turn, oldest first."""

    rows: list[LedgerRow]


class UsageSums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of ledger rows. Unknown numbers are not in them, so the sums are exact only if the last two counts are 0."""

    rows: int = 0
    model_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_nanos: dict[str, int] = {}  # currency -> billionths of it
    rows_tokens_unknown: int = 0
    rows_cost_unknown: int = 0

    @classmethod
    def from_hash(cls, fields: Mapping[bytes, bytes], prefix: str = "") -> Self:
        """Read the fields that add_to_sums wrote (store/lua/parts/sums.lua)."""
        sums = {
            name.decode().removeprefix(prefix): int(value)
            for name, value in fields.items()
            if name.startswith(prefix.encode())
        }
        costs = {name.removeprefix("cost_nanos:"): value for name, value in sums.items() if ":" in name}
        return msgspec.convert(sums | {"cost_nanos": costs}, cls)


# What `publish` reads of a row (store/lua/parts/publish.lua).
COUNTED: Final = (
    "attempt", "turn_created_at", "partial", "model_calls", "tokens_in", "tokens_out", "cost_nanos", "currency",
)  # fmt: skip

_row = msgspec.json.Decoder(LedgerRow)


def decode_row(row: bytes) -> LedgerRow:
    """Read a row as Redis keeps it."""
    return _row.decode(row)


def encode_use(
    usage: Usage, *, partial: bool = False, first_event_ms: int | None = None, first_token_ms: int | None = None
) -> bytes:
    """What a worker tells the script that ends its attempt: the part of the row that only the worker knows."""
    latency = {"first_event_ms": first_event_ms, "first_token_ms": first_token_ms}
    return _texts({"partial": partial, **msgspec.structs.asdict(usage), **latency})


def encode_progress(attempt: int, usage: Usage) -> bytes:
    """What a checkpoint tells of the use of its attempt so far, for the row of an attempt whose worker dies."""
    return _texts({"attempt": attempt, **msgspec.structs.asdict(usage)})


def encode_counted(row: bytes) -> bytes:
    """What of a row is counted into a tenant's sums."""
    decoded = decode_row(row)
    return _texts({name: getattr(decoded, name) for name in COUNTED})


def _texts(fields: Mapping[str, bool | int | str | None]) -> bytes:
    """JSON of texts, because Lua's numbers are doubles and would round large ones. Unknown values are left out."""
    return msgspec.json.encode({name: _text(value) for name, value in fields.items() if value is not None})


def _text(value: bool | int | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def usage_of(rows: Iterable[bytes]) -> Usage:
    """What is known of the use of all these attempts together."""
    used = Usage()
    for row in rows:
        used.add(decode_row(row).usage)
    return used


def ran_ms(rows: Iterable[bytes], since_ms: int) -> int:
    """How long the attempts ran that began at `since_ms` or later, in ms. Waiting between two attempts is not in it."""
    decoded = map(decode_row, rows)
    return sum(row.wall_ms for row in decoded if row.started_at >= since_ms)
