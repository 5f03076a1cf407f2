"""Counts the use of models for the metrics. Only models that the settings name get a name there."""

from collections.abc import Container
from typing import Final

from turnwire.shared.metric_names import OTHER
from turnwire.shared.metrics import counter
from turnwire.shared.usage import Usage

NANOS: Final = 1_000_000_000
_CALLS: Final = counter("turnwire_model_calls_total")
_TOKENS: Final = counter("turnwire_tokens_total")
_COST: Final = counter("turnwire_cost_total")


def count_use(used: Usage, listed: Container[str]) -> None:
    """Count one call of a model. `listed`: the models that the settings name; a product may name any."""
    called = used.model_called
    model = called if called is not None and called in listed else OTHER
    _CALLS.add(model)
    for kind, tokens in (
        ("input", used.tokens_in),
        ("output", used.tokens_out),
        ("cached", used.cached_tokens),
        ("reasoning", used.reasoning_tokens),
    ):
        if tokens:
            _TOKENS.add(model, kind, amount=tokens)
    if used.cost_nanos and used.currency:
        _COST.add(model, used.currency, amount=used.cost_nanos / NANOS)
