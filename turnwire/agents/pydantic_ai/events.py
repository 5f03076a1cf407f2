"""Turns the events of Pydantic AI into events of a turn, and packs those of a model request for its checkpoint."""

from collections.abc import Iterator
from typing import Any, Final

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

_TEXT: Final = "message.part.updated"
_REASONING: Final = "reasoning.delta"

Packed = list[str] | dict[str, Any]


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
            yield {"type": _REASONING, "data": {"delta": delta}}
        case PartDeltaEvent(index=index, delta=ToolCallPartDelta() as delta):
            arguments = _json_text(delta.args_delta)
            yield _call_delta(index, delta.tool_call_id, delta.tool_name_delta, arguments)
        case FunctionToolCallEvent(part=part):
            yield {"type": "tool.call", "data": call_data(part)}
        case FunctionToolResultEvent(part=part):
            yield {"type": "tool.result", "data": {"id": part.tool_call_id, "result": part.model_response_str()}}


def call_data(call: ToolCallPart) -> dict[str, Any]:
    """Return `{id, name, arguments}` of a tool call; the arguments are the text of a JSON object."""
    return {"id": call.tool_call_id, "name": call.tool_name, "arguments": _json_text(call.args) or "{}"}


def packed(event: dict[str, Any]) -> Packed:
    """Return the event in few bytes: a delta of text is `[part id, delta]`, one of reasoning is `[delta]`."""
    data = event["data"]
    if event["type"] == _TEXT:
        return [data["part"]["id"], data["delta"]]
    return [data["delta"]] if event["type"] == _REASONING else event


def unpacked(event: Packed) -> dict[str, Any]:
    """Return the event that was packed."""
    match event:
        case [part_id, delta]:
            return _text_of_part(part_id, delta)
        case [delta]:
            return {"type": _REASONING, "data": {"delta": delta}}
        case dict():
            return event
    raise AssertionError("this was not packed")


def _began(request: int, index: int, part: ModelResponsePart) -> Iterator[dict[str, Any]]:
    match part:
        case TextPart(content=text) if text:
            yield _text(request, index, text)
        case ThinkingPart(content=text) if text:
            yield {"type": _REASONING, "data": {"delta": text}}
        case ToolCallPart():
            yield _call_delta(index, part.tool_call_id, part.tool_name, _json_text(part.args))


def _text(request: int, index: int, delta: str) -> dict[str, Any]:
    return _text_of_part(f"text-{request}-{index}", delta)


def _text_of_part(part_id: str, delta: str) -> dict[str, Any]:
    return {"type": _TEXT, "data": {"part": {"type": "text", "id": part_id}, "delta": delta}}


def _call_delta(index: int, call_id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    # In this order, the checkpoint gives the fields back, and a later attempt must yield the same bytes.
    data = {"arguments": arguments, "id": call_id, "index": index, "name": name}
    return {"type": "tool.call.delta", "data": data}


def _json_text(arguments: Any) -> str:
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return to_json(arguments).decode()
