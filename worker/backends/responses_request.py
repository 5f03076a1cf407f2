"""Makes a request of OpenAI's Responses API from one of chat completions. It does no I/O."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_RENAMED: Final = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
_LEFT_OUT: Final = frozenset(
    {"messages", "stream_options", "n", "stop", "reasoning_effort", "response_format", "tools"}
)


def responses_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request that asks the same, in the background. What has no counterpart is sent as it is."""
    made = {_RENAMED.get(name, name): value for name, value in request.items() if name not in _LEFT_OUT}
    made["input"] = [item for message in request["messages"] for item in _items(message)]
    made |= {"stream": True, "background": True, "store": True}
    if request.get("tools"):
        made["tools"] = [_flat(tool) for tool in request["tools"]]
    if isinstance(made.get("tool_choice"), dict):
        made["tool_choice"] = _flat(made["tool_choice"])
    if isinstance(wanted := request.get("response_format"), dict):
        made["text"] = {"format": {**wanted.get("json_schema", {}), "type": wanted.get("type")}}
    if request.get("reasoning_effort"):
        made["reasoning"] = {"effort": request["reasoning_effort"]}
    return made


def _items(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    role, content = message["role"], message.get("content")
    if role == "tool":
        yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": content}
        return
    if content:
        parts = content if isinstance(content, str) else [_part(part, role) for part in content]
        yield {"role": role, "content": parts}
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield {
            "type": "function_call",
            "call_id": call["id"],
            "name": function["name"],
            "arguments": function["arguments"],
        }


def _part(part: Any, role: str) -> Any:
    match part:
        case {"type": "text", "text": text}:
            return {"type": "output_text" if role == "assistant" else "input_text", "text": text}
        case {"type": "image_url", "image_url": {"url": url, **more}}:
            return {"type": "input_image", "image_url": url, **more}
        case {"type": "file", "file": file}:
            return {"type": "input_file", **file}
    return part


def _flat(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a tool, or the choice of one, without the level that only chat completions have."""
    function = tool.get("function")
    return {"type": "function", **function} if isinstance(function, dict) else tool
