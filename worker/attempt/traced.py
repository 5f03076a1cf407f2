"""The spans of a turn's attempts.

The span of an attempt begins with its claim and ends with its ledger row. An attempt that is killed cannot end its
span, and one that has lost its lease does not. So whoever takes the turn over makes that span, from the row.
"""

from collections.abc import Mapping
from typing import Final

from turnwire.shared.ledger import LedgerRow, decode_row
from turnwire.shared.model import Claimed, TurnRecord
from turnwire.shared.tracing import NO_SPAN, Attributes, Span, TraceContext, TurnTrace, tracing

NAME: Final = "turn"


class AttemptTrace:
    """The span of the attempt that runs. After a rewind, the same worker goes on with the span of the next attempt."""

    def __init__(self, claimed: Claimed) -> None:
        self._claimed = claimed
        self.span = NO_SPAN
        if tracing.on:
            before = _before(claimed.attempt, claimed.rows)
            if before is not None and before.outcome == "crashed":
                tell_crashed(claimed.record, claimed.rows, before)
            self.span = self._begin(claimed, before)

    def _begin(self, claimed: Claimed, before: LedgerRow | None) -> Span:
        record = claimed.record
        attributes = attributes_of(record, claimed.attempt) | {"turnwire.worker": claimed.worker}
        if before is None:
            attributes["turnwire.waited_ms"] = claimed.at_ms - record.created_at
        return tracing.of_turn(
            TurnTrace.of(record), NAME, "consumer", attributes,
            attempt=claimed.attempt, after=_linked(record, before),
        )  # fmt: skip

    def go_on(self, claimed: Claimed, rows: Mapping[int, bytes]) -> None:
        """Go on as another attempt of the same worker, in the task that produces."""
        if tracing.on:
            self.span.leave()
            self.end(rows)
            self._claimed = claimed
            self.span = self._begin(claimed, _before(claimed.attempt, rows))
            self.span.enter()

    def end(self, rows: Mapping[int, bytes]) -> None:
        """End the span as the attempt's ledger row says. Without a row, the attempt was not ended by this worker."""
        self.span.leave()
        row = rows.get(self._claimed.attempt)
        if tracing.on and row is not None:
            _end(self.span, decode_row(row), None)

    @property
    def context(self) -> TraceContext | None:
        """The context for requests that the product makes; None: the product gets the client's."""
        return self.span.context


def attributes_of(record: TurnRecord, attempt: int) -> dict[str, str | int]:
    """Return what every span of a turn says."""
    attributes: dict[str, str | int] = {
        "turnwire.run_id": record.run_id,
        "turnwire.attempt": attempt,
        "turnwire.tenant": record.tenant_id,
        "gen_ai.conversation.id": record.session_id,
    }
    if record.project is not None:
        attributes["turnwire.project"] = record.project
    return attributes


def tell_crashed(record: TurnRecord, rows: Mapping[int, bytes], crashed: LedgerRow) -> None:
    """Make the span of an attempt whose worker died, so that the spans of its steps have their parent."""
    _end(_ended(record, rows, crashed), crashed, crashed.ended_at)


def tell_given_up(record: TurnRecord, rows: Mapping[int, bytes]) -> None:
    """Make the spans of the last attempts of a turn that was given up because its workers died."""
    last = _before(record.attempt + 1, rows)
    crashed = _before(record.attempt, rows)
    if tracing.on and last is not None and crashed is not None and crashed.outcome == "crashed":
        tell_crashed(record, rows, crashed)
        _end(_ended(record, rows, last), last, last.ended_at)


def _ended(record: TurnRecord, rows: Mapping[int, bytes], row: LedgerRow) -> Span:
    """Begin the span of an attempt that has ended without this worker."""
    return tracing.of_turn(
        TurnTrace.of(record), NAME, "consumer", attributes_of(record, row.attempt),
        attempt=row.attempt, after=_linked(record, _before(row.attempt, rows)), at_ms=row.started_at,
    )  # fmt: skip


def _before(attempt: int, rows: Mapping[int, bytes]) -> LedgerRow | None:
    earlier = [number for number in rows if number < attempt]
    return decode_row(rows[max(earlier)]) if earlier else None


def _linked(record: TurnRecord, before: LedgerRow | None) -> int | None:
    """The attempt to link to. One that belongs to an earlier request for this turn is in another trace."""
    if before is None or (record.started_at is not None and before.started_at < record.started_at):
        return None
    return before.attempt


def _end(span: Span, row: LedgerRow, at_ms: int | None) -> None:
    known: Attributes = {
        "turnwire.outcome": row.outcome,
        **{
            f"turnwire.{name}": value
            for name in ("model_calls", "tokens_in", "tokens_out", "cost_nanos", "currency", "first_event_ms")
            if (value := getattr(row, name)) is not None
        },
    }
    span.set(known)
    if row.outcome in {"failed", "crashed"}:
        span.fail(row.code or row.outcome)
    span.end(at_ms)
