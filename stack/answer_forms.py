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
    """The form of the Responses API. `name`: the id of the response."""

    def __init__(self, name: str) -> None:
        self._response: dict[str, Any] = {"id": name, "object": "response", "model": "m", "background": True}

    def begin(self) -> list[bytes]:
        """See Form."""
        return [_event("response.created", response={**self._response, "status": "in_progress"})]

    def word(self, text: str) -> list[bytes]:
        """See Form."""
        place = {"item_id": "item", "output_index": 0, "content_index": 0}
        return [_event("response.output_text.delta", delta=text, **place)]

    def end(self, tokens_in: int, tokens_out: int) -> list[bytes]:
        """See Form."""
        usage = {"input_tokens": tokens_in, "output_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
        return [_event("response.completed", response={**self._response, "status": "completed", "usage": usage})]


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + _data({"type": kind, **fields})


def _data(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"
