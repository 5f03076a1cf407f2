"""Compares a step that is asked for with the one that an earlier attempt asked for at the same position."""

from typing import Final

from turnwire.shared.model import ANSWER, TRANSFORM, StepRecord
from turnwire.worker.turn.step_errors import DivergenceError, InputDriftError

OWN_INTENTS: Final = frozenset({ANSWER, TRANSFORM, "persist_assistant_message", "on_turn_complete"})


def check_same(before: StepRecord | None, position: int | str, intent: str, input_hash: str | None) -> None:
    """Check a product's step. `before`: what is stored at its position.

    Raises:
        DivergenceError: it is another step, or it has the name of one of Turnwire's own.
        InputDriftError: it has other input.
    """
    if intent in OWN_INTENTS:
        raise DivergenceError(f"{intent!r} is the name of one of Turnwire's own steps")
    if before is None:
        return
    if before.intent != intent:
        raise DivergenceError(f"step {position} was {before.intent!r} before, and is {intent!r} now")
    if before.input_hash != input_hash:
        raise InputDriftError(f"step {position} ({intent!r}) had other input before")
