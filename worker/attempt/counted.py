"""Counts attempts for the metrics: why each began, how long its turn had waited, and how it ended."""

from typing import Final

import msgspec

from turnwire.shared.ledger import decode_row
from turnwire.shared.metric_names import BY_NAME, OTHER
from turnwire.shared.metrics import Histogram, counter, histogram
from turnwire.shared.model import Claimed

_ATTEMPTS: Final = counter("turnwire_attempts_total")
_ENDS: Final = counter("turnwire_attempt_ends_total")
_ATTEMPT: Final = histogram("turnwire_attempt_seconds")
_FIRST_TOKEN: Final = histogram("turnwire_first_token_seconds")
_WAITS: Final[dict[str, Histogram]] = {
    "first": histogram("turnwire_dispatch_seconds"),
    "lease_expired": histogram("turnwire_takeover_seconds"),
    "signal": histogram("turnwire_signal_to_resume_seconds"),
}
_REASONS: Final = frozenset(BY_NAME["turnwire_attempts_total"].labels["reason"])
_OUTCOMES: Final = frozenset(BY_NAME["turnwire_attempt_ends_total"].labels["outcome"])


class _Reason(msgspec.Struct):
    reason: str = OTHER


class _Resumed(msgspec.Struct):
    data: _Reason


_first_event: Final = msgspec.json.Decoder(_Resumed)


def count_claim(claimed: Claimed) -> None:
    """Count an attempt that begins."""
    reason = "first" if claimed.attempt == 1 else _first_event.decode(claimed.first_event).data.reason
    _ATTEMPTS.add(reason if reason in _REASONS else OTHER)
    if claimed.waited_ms is not None and reason in _WAITS:
        _WAITS[reason].observe(claimed.waited_ms / 1000)


def count_end(row: bytes | None) -> None:
    """Count an attempt that has ended. `row`: its ledger row; None: it has lost its lease, and so wrote none."""
    if row is None:
        _ENDS.add("lease_lost")
        return
    ended = decode_row(row)
    _ENDS.add(ended.outcome if ended.outcome in _OUTCOMES else OTHER)
    _ATTEMPT.observe(ended.wall_ms / 1000)
    if ended.first_token_ms is not None:
        _FIRST_TOKEN.observe(ended.first_token_ms / 1000)
