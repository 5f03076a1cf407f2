"""Chunks of chat completions, as servers send them."""

from typing import Any

from tests.worker.backends.rawserver import text

FINISH: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
CALLED: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
USAGE: dict[str, Any] = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields}]}


def tool(**fields: Any) -> dict[str, Any]:
    return delta(tool_calls=[fields])


def call(name: str | None = None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """A fragment of a tool call."""
    return tool(**fields, function={"name": name, "arguments": arguments})


def finish(reason: str, content: str | None = None) -> dict[str, Any]:
    return text(content, reason)
