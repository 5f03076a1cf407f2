"""Asks OpenAI's Responses API in the background, where an answer does not end with the connection.

The server names the answer in its first event, and keeps it for some minutes. It can be read again from its beginning
under that name. The events are translated into chunks of a chat completion, so that everything else is the same.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote

import msgspec

from turnwire.worker.backends.answer import DONE, StreamedAnswer
from turnwire.worker.backends.chunk import fields_of
from turnwire.worker.backends.exchange import Asked, ChatExchange
from turnwire.worker.backends.generation import NAMED
from turnwire.worker.backends.reports import decoded
from turnwire.worker.backends.responses_request import responses_request
from turnwire.worker.backends.sse import SseEvent

PATH: Final = "/responses"
_DELTAS: Final = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning_content",
    "response.reasoning_summary_text.delta": "reasoning_content",
}
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_INCOMPLETE: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesExchange(ChatExchange):
    """Sends the requests of one call, as `ChatExchange` does."""

    def _request_of(self, asked: Asked, headers: dict[str, str]) -> tuple[bytes | None, dict[str, Any]]:  # noqa: ARG002
        if asked.reads:
            return None, {"method": "GET", "path": _path(asked.generation_id), "query": {"stream": "true"}}
        return msgspec.json.encode(responses_request(asked.request)), {"path": PATH.encode()}

    def _translation(self, answer: StreamedAnswer) -> Callable[[SseEvent], Iterator[dict[str, Any]]]:
        translation = Translation()

        def translate(event: SseEvent) -> Iterator[dict[str, Any]]:
            yield from translation.names(event)
            for chunk in translation.chunks(event):
                yield from answer.take(SseEvent(chunk if isinstance(chunk, str) else _encode(chunk)))

        return translate

    async def _stop(self, generation_id: str) -> None:
        await self._send(method="POST", path=_path(generation_id) + b"/cancel")

    async def keeps_answers(self) -> bool:
        """It does."""
        return True


class Translation:
    """Translates the events of one answer. It does no I/O."""

    def __init__(self) -> None:
        self._is_named = False
        self._has_calls = False

    def names(self, event: SseEvent) -> Iterator[dict[str, Any]]:
        """Yield an event with the name of the answer, once."""
        if not self._is_named:
            response = fields_of(decoded(event.data).get("response"))
            if isinstance(response.get("id"), str):
                self._is_named = True
                yield {"type": NAMED, "data": {"id": response["id"]}}

    def chunks(self, event: SseEvent) -> Iterator[dict[str, Any] | str]:
        """Yield the chunks of a chat completion that an event stands for; what is no event goes on as it is."""
        said = decoded(event.data)
        kind = said.get("type")
        if not isinstance(kind, str) or kind == "error":
            yield event.data if not isinstance(kind, str) else {"error": said.get("error") or said}
        elif kind in _DELTAS:
            yield _chunk({_DELTAS[kind]: said.get("delta")})
        elif kind == "response.output_item.added":
            yield from self._item(said)
        elif kind == "response.function_call_arguments.delta":
            yield _called(said, {"arguments": said.get("delta")})
        elif kind in _ENDS:
            yield from self._end(kind, fields_of(said.get("response")))

    def _item(self, said: dict[str, Any]) -> Iterator[dict[str, Any]]:
        item = fields_of(said.get("item"))
        if item.get("type") == "function_call":
            self._has_calls = True
            yield _called(said, {"name": item.get("name"), "arguments": ""}, id=item.get("call_id"))

    def _end(self, kind: str, response: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
        usage = response.get("usage")
        if kind == "response.failed":
            yield {"error": response.get("error") or {"message": "the response failed"}, "usage": usage}
        reason = "tool_calls" if self._has_calls else "stop"
        if kind == "response.cancelled":
            reason = "cancelled"  # something else than a limit has cut the answer short
        elif kind == "response.incomplete":
            why = fields_of(response.get("incomplete_details")).get("reason")
            reason = _INCOMPLETE.get(str(why), "error")
        yield _chunk({}, reason) | {"usage": usage, "model": response.get("model"), "id": response.get("id")}
        yield DONE


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def _called(said: dict[str, Any], function: dict[str, Any], **fields: Any) -> dict[str, Any]:
    call = {"index": said.get("output_index"), "type": "function", "function": function, **fields}
    return _chunk({"tool_calls": [call]})


def _encode(chunk: dict[str, Any]) -> str:
    return msgspec.json.encode(chunk).decode()


def _path(generation_id: str | None) -> bytes:
    return f"{PATH}/{quote(generation_id or '', safe='')}".encode()
