"""Counts refusals for the metrics: all problem documents, and those that a limit or the credentials caused."""

from collections.abc import Iterable
from typing import Final

from turnwire.shared.errors import OpenTurnsLimit, QueueFull, RateLimited, SessionLimit, TailLimit, TurnwireError
from turnwire.shared.metric_names import BY_NAME
from turnwire.shared.metrics import counter

INTERNAL_CODE: Final = "internal"

_PROBLEMS: Final = counter("turnwire_problems_total")
_BY_LIMITS: Final = counter("turnwire_refused_requests_total")
_BY_CREDENTIALS: Final = counter("turnwire_refused_credentials_total")
_OF_CREDENTIALS: Final = frozenset(BY_NAME["turnwire_refused_credentials_total"].labels["code"])


def begin_with(codes: Iterable[str]) -> None:
    """Let the counts of these codes begin with 0: an alert sees no growth in a count that begins with 1."""
    for code in codes:
        _PROBLEMS.add(code, amount=0)


def count_problem(error: TurnwireError | None) -> None:
    """Count a problem document that is about to be sent. None: it is about a defect."""
    code = INTERNAL_CODE if error is None else error.code
    _PROBLEMS.add(code)
    if isinstance(error, RateLimited):
        _BY_LIMITS.add(code, error.holder)
    elif isinstance(error, OpenTurnsLimit | SessionLimit | TailLimit):
        _BY_LIMITS.add(code, "key" if str(error).startswith("this key ") else "tenant")
    elif isinstance(error, QueueFull):
        _BY_LIMITS.add(code, "deployment")
    elif code in _OF_CREDENTIALS:
        _BY_CREDENTIALS.add(code)
