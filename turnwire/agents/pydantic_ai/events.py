"""Turns the events of Pydantic AI into events of a turn."""

from collections.abc import Iterator
from typing import Any

from pydantic_ai.messages import (
    AgentStreamEvent,
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelResponsePart,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_core import to_json

from turnwire.agents.model_step import call_delta, reasoning_delta, text_delta


def events_of(event: AgentStreamEvent, request: int) -> Iterator[dict[str, Any]]:
    """Yield the events of a turn that an event of Pydantic AI stands for; none for most kinds.

    Args:
        event: the event of Pydantic AI.
        request: the number of the model request in the run, because the parts of each answer count from 0 again.
    """
    match event:
        case PartStartEvent(index=index, part=part):
            yield from _began(request, index, part)
        case PartDeltaEvent(index=index, delta=TextPartDelta(content_delta=delta)) if delta:
            yield _text(request, index, delta)
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=str(delta))) if delta:
            yield reasoning_delta(delta)
        case PartDeltaEvent(index=index, delta=ToolCallPartDelta() as delta):
            arguments = _json_text(delta.args_delta)
            yield call_delta(index, delta.tool_call_id, delta.tool_name_delta, arguments)
        case FunctionToolCallEvent(part=part):
            yield {"type": "tool.call", "data": call_data(part)}
        case FunctionToolResultEvent(part=part):
            yield {"type": "tool.result", "data": {"id": part.tool_call_id, "result": part.model_response_str()}}


def call_data(call: ToolCallPart) -> dict[str, Any]:
    """Return `{id, name, arguments}` of a tool call; the arguments are the text of a JSON object."""
    return {"id": call.tool_call_id, "name": call.tool_name, "arguments": _json_text(call.args) or "{}"}


def _began(request: int, index: int, part: ModelResponsePart) -> Iterator[dict[str, Any]]:
    match part:
        case TextPart(content=text) if text:
            yield _text(request, index, text)
        case ThinkingPart(content=text) if text:
            yield reasoning_delta(text)
        case ToolCallPart():
            yield call_delta(index, part.tool_call_id, part.tool_name, _json_text(part.args))


def _text(request: int, index: int, delta: str) -> dict[str, Any]:
    return text_delta(f"text-{request}-{index}", delta)


def _json_text(arguments: Any) -> str:
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return to_json(arguments).decode()
