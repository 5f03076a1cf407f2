"""Makes the messages of a conversation with tools: the calls of the model, and their results. It does no I/O."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from turnwire.shared.events import PART_UPDATED, ChatStreamEvent

TOOL_CALL = "tool.call"


def assistant_message(events: Iterable[ChatStreamEvent | Mapping[str, Any]]) -> dict[str, Any]:
    """Make the assistant's message for the next request from the events of one answer of the model.

    Returns: `{"role": "assistant", "content": …}`. If the model called tools, it has `tool_calls`, too: a list of
    `{"id", "type", "function": {"name", "arguments"}}`, where `arguments` is JSON text.
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
    """Make the message that tells the model the result of a tool call.

    Args:
        call: one of the `tool_calls` of an assistant message, or the data of a `tool.call` event.
        result: anything that JSON can represent; a str is sent as it is.

    Returns: `{"role": "tool", "tool_call_id": …, "content": …}`.

    Raises:
        TypeError: the result cannot be represented in JSON.
    """
    content = result if isinstance(result, str) else msgspec.json.encode(result).decode()
    return {"role": "tool", "tool_call_id": call["id"], "content": content}
