"""Makes the messages of a conversation with tools: the calls of the model, and their results. It does no I/O."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from turnwire.shared.events import PART_UPDATED, ChatStreamEvent
from turnwire.worker.backends.attachments import REASONING_DETAILS
from turnwire.worker.backends.toolcalls import is_json_object

TOOL_CALL: Final = "tool.call"
REASONING_DELTA: Final = "reasoning.delta"
_FORMATS: Final = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav"}  # as servers call media types


def assistant_message(
    events: Iterable[ChatStreamEvent | Mapping[str, Any]], *, reasoning_field: str | None = None
) -> dict[str, Any]:
    """Make the assistant's message for the next request from the events of one answer of the model.

    Args:
        events: the events that `OpenAIBackend.stream` yielded.
        reasoning_field: the field in which the server wants the reasoning back, for example `reasoning_content`; None:
            the reasoning is left out, because many servers refuse it.

    Returns: `{"role": "assistant", "content": …}`. If the model called tools, it has `tool_calls`, too: a list of
    `{"id", "type", "function": {"name", "arguments"}}`, where `arguments` is the text of a JSON object, and whatever
    else the server sent with a call, such as a thought signature.
    """
    text: list[str] = []
    reasoning: list[str] = []
    calls: list[dict[str, Any]] = []
    details: list[Any] = []
    for event in events:
        event_type, data = (
            (event.type, event.data) if isinstance(event, ChatStreamEvent) else (event["type"], event["data"])
        )
        if event_type == PART_UPDATED and data["part"]["type"] == "text":
            text.append(data["delta"])
        elif event_type == REASONING_DELTA:
            reasoning.append(data["delta"])
        elif event_type == REASONING_DETAILS:
            details += data["details"]
        elif event_type == TOOL_CALL:
            function = {"name": data["name"], "arguments": _json_object(data["arguments"])}
            calls.append({**data.get("extra", {}), "id": data["id"], "type": "function", "function": function})
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text) or (None if calls else "")}
    if reasoning_field and reasoning:
        message[reasoning_field] = "".join(reasoning)
    if details:
        message["reasoning_details"] = details
    return message | {"tool_calls": calls} if calls else message


def wire_message(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a chat message as model servers take it. Only parts in the form of Turnwire's API are changed.

    A sound or a file may be a URL or a data URI. Servers take the data of a sound apart from its format.
    """
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_wire_part(part) for part in content]}


def _wire_part(part: Any) -> Any:
    match part:
        case {"type": "input_file", "input_file": {"url": url, **more}}:
            return {"type": "file", "file": {"filename": more.get("filename", "file"), "file_data": url}}
        case {"type": "input_audio", "input_audio": {"url": str(url), **more}}:
            head, comma, data = url.partition(",")
            if not comma or not head.lower().startswith("data:"):
                return {"type": "audio_url", "audio_url": {"url": url}}
            kind = head[5:].partition(";")[0].partition("/")[2].lower()
            return {
                "type": "input_audio",
                "input_audio": {"data": data, "format": more.get("format") or _FORMATS.get(kind, kind)},
            }
        case _:
            return part


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


def _json_object(arguments: str) -> str:
    """Return arguments that every server can read: many refuse a history in which they are no JSON object."""
    if is_json_object(arguments):
        return arguments
    return msgspec.json.encode({"invalid_arguments": arguments} if arguments.strip() else {}).decode()
