"""The two forms in which the offline model server streams an answer. They do no I/O."""

import json
from typing import Any, Protocol


class Form(Protocol):
    """Makes the bytes of a stream."""

    def begin(self) -> list[bytes]:
        """Return what comes before the first word."""

    def word(self, text: str) -> list[bytes]:
        """Return a word, with the space before it."""

    def end(self, tokens_in: int, tokens_out: int) -> list[bytes]:
        """Return what comes after the last word."""


class ChatChunks:
    """The form of chat completions."""

    def begin(self) -> list[bytes]:
        """See Form."""
        return []

    def word(self, text: str) -> list[bytes]:
        """See Form."""
        return [_data({"choices": [{"index": 0, "delta": {"content": text}}]})]

    def end(self, tokens_in: int, tokens_out: int) -> list[bytes]:
        """See Form."""
        usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
        choices = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        return [_data({"choices": choices, "usage": usage}), b"data: [DONE]\n\n"]


class ResponseEvents:
    """The form of the Responses API, with each event that OpenAI sends for a text. `name`: the id of the response."""

    def __init__(self, name: str) -> None:
        self._response: dict[str, Any] = {
            "id": name, "object": "response", "created_at": 0, "model": "m", "background": True, "output": [],
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        }  # fmt: skip
        self._item = {"id": f"msg_{name}", "type": "message", "role": "assistant"}
        self._place = {"item_id": self._item["id"], "output_index": 0, "content_index": 0}
        self._text = ""
        self._number = 0  # of the next event

    def begin(self) -> list[bytes]:
        """See Form."""
        item = {**self._item, "status": "in_progress", "content": []}
        return [
            self._event("created", response=self.state("queued")),
            self._event("queued", response=self.state("queued")),
            self._event("in_progress", response=self.state("in_progress")),
            self._event("output_item.added", output_index=0, item=item),
            self._event("content_part.added", part=self._part(), **self._place),
        ]

    def word(self, text: str) -> list[bytes]:
        """See Form."""
        self._text += text
        return [self._event("output_text.delta", delta=text, logprobs=[], **self._place)]

    def end(self, tokens_in: int, tokens_out: int) -> list[bytes]:
        """See Form."""
        usage = {
            "input_tokens": tokens_in, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": tokens_out, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens_in + tokens_out,
        }  # fmt: skip
        item = {**self._item, "status": "completed", "content": [self._part()]}
        whole = {**self.state("completed"), "output": [item], "usage": usage}
        return [
            self._event("output_text.done", text=self._text, logprobs=[], **self._place),
            self._event("content_part.done", part=self._part(), **self._place),
            self._event("output_item.done", output_index=0, item=item),
            self._event("completed", response=whole),
        ]

    def state(self, status: str) -> dict[str, Any]:
        """Return the response as it is, without its text."""
        return {**self._response, "status": status}

    def _part(self) -> dict[str, Any]:
        return {"type": "output_text", "text": self._text, "annotations": []}

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": f"response.{kind}", "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {event['type']}\n".encode() + _data(event)


def _data(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"
