"""Counts the tokens of one answer from the usage that the server reports, once or many times. It does no I/O."""

from typing import Any, Final

from turnwire.worker.backends.chunk import fields_of

_MOST_TOKENS: Final = 2**31


class TokenCount:
    """The tokens of one answer. A number is None until it was reported, and a later report never makes it smaller.

    Attributes:
        tokens_in: the tokens of the request, with the cached ones.
        tokens_out: the tokens of the answer, with those of its reasoning.
        cached_tokens: how many of `tokens_in` the server had in its cache.
        reasoning_tokens: how many of `tokens_out` were reasoning.
    """

    def __init__(self) -> None:
        self.tokens_in: int | None = None
        self.tokens_out: int | None = None
        self.cached_tokens: int | None = None
        self.reasoning_tokens: int | None = None

    def take(self, usage: Any) -> None:
        """Take one report. Some servers report a running total, and some report each number in another chunk."""
        report = fields_of(usage)
        tokens_in = _first(report, "prompt_tokens", "input_tokens")
        tokens_out = _first(report, "completion_tokens", "output_tokens")
        total = _first(report, "total_tokens")
        inside = fields_of(report.get("completion_tokens_details") or report.get("output_tokens_details"))
        cached = fields_of(report.get("prompt_tokens_details") or report.get("input_tokens_details"))
        reasoning = _first(inside, "reasoning_tokens")
        # Some providers count the reasoning beside the completion, but bill both. Only the total shows it then.
        if tokens_out is not None and tokens_in is not None and total is not None:
            tokens_out = max(tokens_out, total - tokens_in)
        if tokens_out is not None and reasoning is not None and reasoning > tokens_out:
            tokens_out += reasoning
        self.tokens_in = _greater(self.tokens_in, tokens_in)
        self.tokens_out = _greater(self.tokens_out, tokens_out)
        self.reasoning_tokens = _greater(self.reasoning_tokens, reasoning)
        in_cache = _first(cached, "cached_tokens")
        in_cache = _first(report, "prompt_cache_hit_tokens", "cached_tokens") if in_cache is None else in_cache
        self.cached_tokens = _greater(self.cached_tokens, in_cache)


def _first(report: dict[str, Any], *names: str) -> int | None:
    """Return the first of these counts that can be true. A bool is an int in Python. Unknown is not the same as 0."""
    for name in names:
        count = report.get(name)
        if type(count) is int and 0 <= count < _MOST_TOKENS:
            return count
    return None


def _greater(known: int | None, reported: int | None) -> int | None:
    return reported if known is None else max(known, reported or 0)
