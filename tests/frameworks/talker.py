"""A model of the OpenAI Agents SDK for tests."""

import json
from typing import Any

import agents as sdk
from openai.types import responses

from turnwire.testing import Calls

SdkModel: Any = sdk.Model
sdk.set_tracing_disabled(True)  # the SDK would send its traces to OpenAI


def message(text: str) -> Any:
    part = {"type": "output_text", "text": text, "annotations": []}
    said = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return responses.ResponseOutputMessage.model_validate(said)


def calling(name: str, **arguments: str) -> Any:
    call = {"type": "function_call", "call_id": f"c-{name}", "name": name, "arguments": json.dumps(arguments)}
    return responses.ResponseFunctionToolCall.model_validate(call)


class Talker(SdkModel):
    """A model that says what `answers` gives for the results of the tools so far, word by word."""

    model = "m"

    def __init__(self, answers: Any, calls: Calls) -> None:
        self.answers = answers
        self.calls = calls
        self.seen: Any = None
        self.closed = False

    async def get_response(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("nobody asks for a whole response")

    async def stream_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002 - as in the SDK
        self.calls.note("model")
        self.seen = input
        done = {item["call_id"]: item["output"] for item in input if item.get("type") == "function_call_output"}
        output = self.answers(done)
        try:
            for index, item in enumerate(output):
                at = {"output_index": index, "sequence_number": 0}
                if item.type == "function_call":
                    yield responses.ResponseOutputItemAddedEvent(item=item, type="response.output_item.added", **at)
                    continue
                for word in item.content[0].text.split(" "):
                    where = {**at, "content_index": 0, "item_id": "m", "logprobs": []}
                    yield responses.ResponseTextDeltaEvent(delta=f"{word} ", type="response.output_text.delta", **where)
        finally:
            self.closed = True
        usage: dict[str, Any] = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
        usage |= {"input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0}}
        usage |= {"output_tokens_details": {"reasoning_tokens": 1}}
        whole = {"id": "r", "created_at": 0, "model": "m", "object": "response", "output": [], "tools": []}
        whole |= {"tool_choice": "auto", "parallel_tool_calls": True, "usage": usage, "status": "completed"}
        response = responses.Response.model_validate(whole).model_copy(update={"output": output})
        yield responses.ResponseCompletedEvent(response=response, type="response.completed", sequence_number=0)
