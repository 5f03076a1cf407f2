"""Translates the events of an answer into the chunks of a chat completion, for SDKs that read these. It does no I/O."""

import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

from turnwire.shared.events import PART_UPDATED, ChatStreamEvent
from turnwire.shared.model import ModelCall

_CALLED: Final = "tool.call.delta"
_REASONING: Final = "reasoning.delta"


class TextReplacedError(Exception):
    """The text is another one from its beginning on, after a part of it was passed on. An SDK cannot take it back."""


class Chunks:
    """Makes the chunks of one answer of the model `model`. `begun`: what its stream may begin with."""

    def __init__(self, model: str, begun: Sequence[ChatStreamEvent]) -> None:
        self._frame = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._begun = [event.data for event in begun if event.type == PART_UPDATED]
        self._held: list[dict[str, Any]] = []
        self._said = False
        self._called: dict[int, dict[str, str]] = {}

    def take(self, event: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return the chunks that an event stands for; None if a chunk cannot say it.

        What an earlier attempt had said is held back until it is certain that the answer goes on with it.

        Raises:
            TextReplacedError: a part of the text that this event replaces was passed on.
        """
        kind, data = event["type"], event["data"]
        if kind == PART_UPDATED:
            return self._text(data)
        if kind == _REASONING:
            return [*self._released(), self._chunk({"reasoning_content": data["delta"]})]
        if kind == _CALLED:
            return [*self._released(), self._chunk({"tool_calls": [self._fragment(data)]})]
        if kind == "tool.call":
            return self._extra(data)
        return None

    def _text(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        if "delta" not in data:
            if self._said:
                raise TextReplacedError("the answer does not go on with what it has said")
            self._said = True
            return self._replaced(data["part"]["text"])
        chunk = self._chunk({"content": data["delta"]})
        if not self._said and len(self._held) < len(self._begun) and self._begun[len(self._held)] == data:
            self._held.append(chunk)
            return []
        return [*self._released(), chunk]

    def _replaced(self, whole: str) -> list[dict[str, Any]]:
        """Return the pieces of a text that replaces what was held back, as far as possible in the same pieces.

        So whoever compares the two keeps what they have in common.
        """
        chunks, same = [], 0
        for chunk in self._held:
            piece = chunk["choices"][0]["delta"]["content"]
            if not whole.startswith(piece, same):
                break
            chunks.append(chunk)
            same += len(piece)
        self._held = []
        return [*chunks, self._chunk({"content": whole[same:]})]

    def _released(self) -> list[dict[str, Any]]:
        released, self._held, self._said = self._held, [], True
        return released

    def _fragment(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return a piece of a tool call. Each call has its id and its name once, because SDKs add names up."""
        index = data["index"]
        told = self._called.get(index)
        if told is None:
            told = self._called[index] = {"id": data["id"] or f"call-{index}"}
            fragment: dict[str, Any] = {"index": index, "id": told["id"], "type": "function"}
        else:
            fragment = {"index": index}
        function = {"arguments": data["arguments"]}
        if data["name"] and "name" not in told:
            function["name"] = told["name"] = data["name"]
        return fragment | {"function": function}

    def _extra(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the other fields of a whole call, which its server wants back."""
        index = next((index for index, told in self._called.items() if told["id"] == data["id"]), None)
        if index is None or "extra" not in data:
            return []
        return [self._chunk({"tool_calls": [{**data["extra"], "index": index, "function": {"arguments": ""}}]})]

    def last(self, call: ModelCall | None) -> list[dict[str, Any]]:
        """Return the chunks at the end of an answer: what is still held back, why it ended, and its usage."""
        reason = (call.finish_reason if call else None) or ("tool_calls" if self._called else "stop")
        chunks = [*self._released(), self._chunk({}, reason)]
        return [*chunks, self._chunk(None) | {"usage": usage}] if (usage := _usage(call)) else chunks

    def _chunk(self, delta: dict[str, Any] | None, reason: str | None = None) -> dict[str, Any]:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
        return {**self._frame, "object": "chat.completion.chunk", "choices": choices}


def document(chunks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the whole chat completion that these chunks make."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    made: dict[str, Any] = {"object": "chat.completion"}
    calls: dict[int, dict[str, Any]] = {}
    reason = None
    for chunk in chunks:
        made |= {name: chunk[name] for name in ("id", "created", "model", "usage") if name in chunk}
        for choice in chunk["choices"]:
            reason = choice["finish_reason"] or reason
            for name, value in choice["delta"].items():
                if name != "tool_calls":
                    message[name] = (message.get(name) or "") + value
            for fragment in choice["delta"].get("tool_calls", ()):
                _add(calls, fragment)
    if calls:
        message["tool_calls"] = list(calls.values())
    return {**made, "choices": [{"index": 0, "message": message, "finish_reason": reason}]}


def _add(calls: dict[int, dict[str, Any]], fragment: dict[str, Any]) -> None:
    fields = {name: value for name, value in fragment.items() if name not in ("index", "function")}
    call = calls.setdefault(fragment["index"], {"function": {"name": "", "arguments": ""}})
    call |= fields
    for name, value in fragment["function"].items():
        call["function"][name] += value


def _usage(call: ModelCall | None) -> dict[str, Any] | None:
    if call is None or call.tokens_in is None or call.tokens_out is None:
        return None
    usage: dict[str, Any] = {"prompt_tokens": call.tokens_in, "completion_tokens": call.tokens_out}
    usage["total_tokens"] = call.tokens_in + call.tokens_out
    if call.cached_tokens is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": call.cached_tokens}
    if call.reasoning_tokens is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": call.reasoning_tokens}
    return usage
