"""Encodes the inputs and results of steps as JSON."""

from typing import Any

from turnwire.shared.identity import canonical_json
from turnwire.worker.turn.step_errors import StepResultError


def canonical(intent: str, what: str, value: Any) -> bytes:
    """Return the canonical JSON of a step's value. `what` names the value in the error: `input` or `result`.

    Raises:
        StepResultError: the value is not JSON.
    """
    try:
        return canonical_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise StepResultError(f"the {what} of step {intent!r} is not JSON: {error}") from error


def result_of(intent: str, value: Any, max_bytes: int) -> bytes:
    """Return the canonical JSON of a step's result.

    Raises:
        StepResultError: the value is not JSON, or (`step_too_large`) its JSON is longer than `max_bytes`.
    """
    result = canonical(intent, "result", value)
    if len(result) > max_bytes:
        size = f"{len(result)} bytes; at most {max_bytes} are allowed"
        raise StepResultError(f"the result of step {intent!r} has {size}", code="step_too_large")
    return result
