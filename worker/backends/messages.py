"""The messages of a conversation with tools: the calls of the model, and their results. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from turnwire.shared.events import PART_UPDATED, ChatStreamEvent

TOOL_CALL = "tool.call"


def assistant_message(events: Iterable[ChatStreamEvent | Mapping[str, Any]]) -> dict[str, Any]:
    """Return the message that continues the conversation, from the events of one answer of the model.

    If the model called tools, it has `tool_calls`, each `{"id", "type", "function": {"name", "arguments"}}`.
    """
    text: list[str] = []
    calls: list[dict[str, Any]] = []
    for event in events:
        event_type, data = (
            (event.type, event.data) if isinstance(event, ChatStreamEvent) else (event["type"], event["data"])
        )
        if event_type == PART_UPDATED and data["part"]["type"] == "text":
            text.append(data["delta"])
        elif event_type == TOOL_CALL:
            function = {"name": data["name"], "arguments": data["arguments"]}
            calls.append({"id": data["id"], "type": "function", "function": function})
    message = {"role": "assistant", "content": "".join(text) or (None if calls else "")}
    return message | {"tool_calls": calls} if calls else message


def tool_message(call: Mapping[str, Any], result: Any) -> dict[str, Any]:
    """Return the message with the result of a tool call.

    Args:
        call: one of the `tool_calls` of an assistant message, or the data of a `tool.call` event.
        result: JSON; a str is sent as it is.
    """
    content = result if isinstance(result, str) else msgspec.json.encode(result).decode()
    return {"role": "tool", "tool_call_id": call["id"], "content": content}
