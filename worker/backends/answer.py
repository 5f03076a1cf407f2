"""Translates one streamed chat completion: server-sent events come in, events of the turn go out. It does no I/O."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from turnwire.shared.events import PART_UPDATED
from turnwire.shared.model import ModelCall
from turnwire.worker.backends.errors import BackendProtocolError, BackendReportedError, BackendTruncatedError
from turnwire.worker.backends.retry import RETRY_STATUSES
from turnwire.worker.backends.sse import SseEvent
from turnwire.worker.backends.toolcalls import ToolCallDelta, ToolCalls

DONE: Final = "[DONE]"
_MOST_TOKENS: Final = 2**31


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: list[ToolCallDelta] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None  # some servers send this instead of a delta
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class StreamedAnswer:
    """Collects, while an answer streams, whether it is complete, its usage and its tool calls.

    `kind` is the backend's name, for errors.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._done = False
        self._finish_reason: str | None = None
        self._tokens_in: int | None = None
        self._tokens_out: int | None = None
        self._tool_calls = ToolCalls()

    @property
    def complete(self) -> bool:
        """True once the server has said that the answer is complete, with `[DONE]` or a finish reason."""
        return self._done or self._finish_reason is not None

    def take(self, event: SseEvent) -> Iterator[dict[str, Any]]:
        """Yield the turn's events that one server-sent event stands for.

        Raises:
            BackendReportedError: the event is an error that the server reports.
            BackendProtocolError: the event is not JSON, or not a chunk of a chat completion.
        """
        if event.data == DONE:
            self._done = True
            return
        chunk = self._chunk(event)
        self._count(chunk.usage)
        for choice in chunk.choices or []:
            if not choice.index:  # one choice is asked for; if a server sends more, they must not be mixed
                self._finish_reason = choice.finish_reason or self._finish_reason
                yield from self._delta(choice.delta or choice.message or _Delta())

    def call(self, model: str) -> ModelCall:
        """Return the finished call, for the ledger.

        Raises:
            BackendTruncatedError: the answer is not complete.
        """
        if not self.complete:
            message = "the model server's answer stopped before its end"
            raise BackendTruncatedError(message, kind=self._kind, status=200, retryable=True)
        return ModelCall(model, self._tokens_in, self._tokens_out, self._finish_reason)

    def tool_calls(self) -> list[dict[str, Any]]:
        """Return one complete `tool.call` event for each call.

        Raises:
            BackendProtocolError: a call has no name.
        """
        try:
            return [{"type": "tool.call", "data": call} for call in self._tool_calls.complete()]
        except ValueError as error:
            raise self._broken("") from error

    def _chunk(self, event: SseEvent) -> _Chunk:
        try:
            chunk = _decode(event.data)
        except (msgspec.DecodeError, RecursionError) as error:
            if event.type == "error":
                raise self._reported(None, event.data) from error
            raise self._broken(event.data) from error
        if chunk.error or event.type == "error":
            raise self._reported(chunk.error, event.data)
        return chunk

    def _delta(self, delta: _Delta) -> Iterator[dict[str, Any]]:
        reasoning = delta.reasoning_content or delta.reasoning  # a server that sends both sends the same text in both
        if isinstance(reasoning, str) and reasoning:
            yield {"type": "reasoning.delta", "data": {"delta": reasoning}}
        text = delta.content or delta.refusal  # a refusal is the model's answer to the user
        if text:
            yield text_delta(text)
        for fragment in delta.tool_calls or []:
            try:
                payload = self._tool_calls.add(fragment)
            except ValueError as error:
                raise self._broken("") from error
            yield {"type": "tool.call.delta", "data": payload}

    def _count(self, usage: Any) -> None:
        if isinstance(usage, dict):  # the last report counts, because some servers report a running total
            self._tokens_in = _tokens(usage.get("prompt_tokens"))
            self._tokens_out = _tokens(usage.get("completion_tokens"))

    def _broken(self, data: str) -> BackendProtocolError:
        message = "the model server's answer is malformed"
        return BackendProtocolError(message, kind=self._kind, status=200, retryable=False, body=data)

    def _reported(self, error: Any, data: str) -> BackendReportedError:
        message = "the model server reported an error in its answer"
        may_pass = _may_pass(error)
        return BackendReportedError(message, kind=self._kind, status=200, retryable=may_pass, body=data)


def text_delta(text: str) -> dict[str, Any]:
    """Return the event that adds `text` to the answer."""
    return {"type": PART_UPDATED, "data": {"part": {"type": "text", "id": "text-0"}, "delta": text}}


def _tokens(count: Any) -> int | None:
    # A bool is an int in Python. A count that cannot be true is unknown, and not zero.
    return count if type(count) is int and 0 <= count < _MOST_TOKENS else None


def _may_pass(error: Any) -> bool:
    if not isinstance(error, dict):
        return True
    code = str(error.get("code") or error.get("status") or "")
    if len(code) == 3 and code.isdecimal():
        return not code.startswith("4") or int(code) in RETRY_STATUSES
    return error.get("type") != "invalid_request_error"
