"""The ledger: one row for each attempt of each turn that has ended, and the sums of such rows.

A row is written by the script that ends the attempt (shared/lua/parts/ledger.lua), in Redis, once. Here it is read.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, Self

import msgspec

from turnwire.shared.model import Usage

Outcome = Literal["completed", "failed", "cancelled", "suspended", "handover", "crashed", "diverged"]


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt used and cost, as the script writes it. None is unknown; times are Redis time, ms."""

    attempt: int
    turn_created_at: int  # with run_id and attempt it names the row: an erased session's ids may come again
    partial: bool  # it may have used more: it died, and only its checkpoints tell
    model_calls: int | None
    tokens_in: int | None
    tokens_out: int | None
    cost_nanos: int | None  # billionths of `currency`
    currency: str | None
    price_version: str | None
    model_called: str | None  # None: none, or several
    first_event_ms: int | None  # from its start to its first event of the producer
    first_token_ms: int | None  # to its first piece of text
    run_id: str
    session_id: str
    tenant_id: str
    outcome: Outcome
    code: str | None  # why it failed
    project: str | None
    user: str | None
    model: str | None  # that the client asked for
    turn_index: int
    started_at: int
    ended_at: int  # of a crashed one: when it was found dead
    wall_ms: int

    @property
    def usage(self) -> Usage:
        """What is known of its use."""
        if self.model_calls is None:
            return Usage()
        return msgspec.convert(self, Usage, from_attributes=True)


class LedgerRows(msgspec.Struct, frozen=True):
    """The rows of a turn, oldest first."""

    rows: list[LedgerRow]


class UsageSums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of ledger rows. What a row does not know is not in them: they are exact if both last counts are 0."""

    rows: int = 0
    model_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_nanos: dict[str, int] = {}  # currency -> billionths of it
    rows_tokens_unknown: int = 0
    rows_cost_unknown: int = 0

    @classmethod
    def from_hash(cls, fields: Mapping[bytes, bytes], prefix: str = "") -> Self:
        """Read the fields that add_to_sums wrote (shared/lua/parts/sums.lua)."""
        sums = {
            name.decode().removeprefix(prefix): int(value)
            for name, value in fields.items()
            if name.startswith(prefix.encode())
        }
        costs = {name.removeprefix("cost_nanos:"): value for name, value in sums.items() if ":" in name}
        return msgspec.convert(sums | {"cost_nanos": costs}, cls)


# What a caller that counts nothing says of an attempt's use.
UNKNOWN_USE: Final = (
    b'{"partial":true,"model_calls":null,"tokens_in":null,"tokens_out":null,"cost_nanos":null,"currency":null,'
    b'"price_version":null,"model_called":null,"first_event_ms":null,"first_token_ms":null}'
)

_row = msgspec.json.Decoder(LedgerRow)


def decode_row(row: bytes) -> LedgerRow:
    """Read a row as Redis keeps it."""
    return _row.decode(row)


def usage_of(rows: Iterable[bytes]) -> Usage:
    """What is known of the use of all of these."""
    used = Usage()
    for row in rows:
        used.add(decode_row(row).usage)
    return used


def ran_ms(rows: Iterable[bytes], since_ms: int) -> int:
    """How long the attempts ran that began at `since_ms` or later, in ms. Waiting between two attempts is not in it."""
    decoded = map(decode_row, rows)
    return sum(row.wall_ms for row in decoded if row.started_at >= since_ms)
