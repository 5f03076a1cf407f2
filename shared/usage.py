"""What attempts and turns used and cost."""

from collections.abc import Mapping
from typing import Any, Self

import msgspec


class Usage(msgspec.Struct):
    """What an attempt, or a turn, used and cost. A sum is None as soon as one part of it is unknown.

    Attributes:
        model_calls: how many calls of a model there were.
        tokens_in, tokens_out: the tokens of their requests, and of their answers.
        cost_nanos: in billionths of `currency`.
        price_version: of the price table that was used.
        model_called: the model; None if no model was called, or several were.
        cached_tokens: how many of `tokens_in` the servers had in their caches.
        reasoning_tokens: how many of `tokens_out` were reasoning.
        finish_reason: the reason that the server gave for the end of the last call's answer; None if it gave none.
        partial: True if a worker died or a call broke off, so that more may have been used than was reported.
    """

    model_calls: int = 0
    tokens_in: int | None = 0
    tokens_out: int | None = 0
    cost_nanos: int | None = 0
    currency: str | None = None
    price_version: str | None = None
    model_called: str | None = None
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0
    finish_reason: str | None = None
    partial: bool = False

    def add(self, more: "Usage") -> None:
        """Add `more`, which came later, to these sums."""
        self.partial = self.partial or more.partial
        if not more.model_calls:
            return
        first = not self.model_calls
        for name in ("currency", "price_version", "model_called"):
            theirs = getattr(more, name)
            if first:
                setattr(self, name, theirs)
            elif getattr(self, name) != theirs:
                setattr(self, name, None)
                if name == "currency":
                    self.cost_nanos = None  # dollars and euros have no sum
        for name in ("tokens_in", "tokens_out", "cached_tokens", "reasoning_tokens", "cost_nanos"):
            setattr(self, name, _sum(getattr(self, name), getattr(more, name)))
        self.model_calls += more.model_calls
        self.finish_reason = more.finish_reason

    def fields(self) -> dict[str, str]:
        """Return the usage fields of the turn hash, without the unknown ones; no numbers if there was no call."""
        partial = {"partial": "1"} if self.partial else {}
        if not self.model_calls:
            return {"model_calls": "0"} | partial
        values = msgspec.structs.asdict(self) | {"partial": None} | partial
        return {name: str(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read the fields that `fields` made, which are texts.

        Raises:
            msgspec.ValidationError: a number is none.
        """
        if fields["model_calls"] == "0":
            return cls(partial="partial" in fields)
        values = {name: fields.get(name) for name in cls.__struct_fields__}
        return msgspec.convert(values | {"partial": "partial" in fields}, cls, strict=False)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
