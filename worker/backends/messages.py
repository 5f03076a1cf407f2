"""The messages of a conversation with tools: what the model called, and what came of it. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from turnwire.shared.events import PART_UPDATED, ChatStreamEvent

TOOL_CALL = "tool.call"


def assistant_message(events: Iterable[ChatStreamEvent | Mapping[str, Any]]) -> dict[str, Any]:
    """What the model said in the events of one answer, as the message that continues the conversation.

    `tool_calls` is in it if the model called any, each `{"id", "type", "function": {"name", "arguments"}}`.
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
    """What came of a `call`, one of an assistant message's `tool_calls` or the data of a `tool.call` event.

    `result` is JSON; text is sent as it is.
    """
    content = result if isinstance(result, str) else msgspec.json.encode(result).decode()
    return {"role": "tool", "tool_call_id": call["id"], "content": content}
