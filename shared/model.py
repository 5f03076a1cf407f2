"""The records of a turn: what a client asks for, what Redis keeps of it, what it used."""

from typing import Any, Literal, Self

import msgspec

OnBusy = Literal["enqueue", "reject", "interrupt", "concurrent"]
OnDisconnect = Literal["continue", "cancel"]
Persist = Literal["none", "pending", "done"]


class ModelCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of a model. Tokens are None when the model server did not report them: never an invented zero."""

    model: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    finish_reason: str | None = None


class Usage:
    """What a turn used so far: a list of model calls and their sums."""

    def __init__(self, calls: list[ModelCall] | None = None) -> None:
        self.calls: list[ModelCall] = calls or []

    def add(self, call: ModelCall) -> None:
        """Count one call of a model."""
        self.calls.append(call)

    @property
    def tokens_in(self) -> int | None:
        """Sum of prompt tokens; None if no call was made or any call did not report them."""
        return _sum([call.tokens_in for call in self.calls])

    @property
    def tokens_out(self) -> int | None:
        """Sum of completion tokens; None if no call was made or any call did not report them."""
        return _sum([call.tokens_out for call in self.calls])

    def fields(self) -> dict[str, str]:
        """The usage fields of the turn's hash: counts as decimal text, unknown ones left out."""
        counts = {"model_calls": len(self.calls), "tokens_in": self.tokens_in, "tokens_out": self.tokens_out}
        return {name: str(count) for name, count in counts.items() if count is not None}


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None
