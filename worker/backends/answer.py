"""Translates one streamed chat completion: server-sent events come in, events of the turn go out. It does no I/O."""

import time
from collections.abc import Iterator
from typing import Any, Final

from turnwire.shared.events import PART_UPDATED
from turnwire.shared.model import ModelCall
from turnwire.shared.tracing import NO_SPAN
from turnwire.worker.backends.attachments import Attachments
from turnwire.worker.backends.chunk import Chunk, decode_chunk, fields_of, finish_reason_of, text_and_thoughts
from turnwire.worker.backends.errors import BackendProtocolError, BackendTruncatedError
from turnwire.worker.backends.quirks import Quirks
from turnwire.worker.backends.reports import broken_off, has_no_answer, is_cut, reported, withheld
from turnwire.worker.backends.sse import SseEvent
from turnwire.worker.backends.surrogates import PairJoiner
from turnwire.worker.backends.thinking import ThinkSplitter
from turnwire.worker.backends.tokens import TokenCount
from turnwire.worker.backends.toolcalls import ToolCalls

DONE: Final = "[DONE]"


class StreamedAnswer:
    """Collects, while an answer streams, whether it is complete, its usage and its tool calls.

    `kind` is the backend's name, for errors.

    Attributes:
        quirks: what is particular about the model.
        responded: whether a 2xx response has begun. From then on the call may be billed.
        model, id: the server's names of the model that answers, and of the answer; None: not known yet.
        first_chunk_s: when its first chunk came, by `time.perf_counter`.
        span: of the request.
        began: whether a piece of text, of reasoning or of a tool call has come. Until then nothing is lost if the model
            is asked again.
    """

    def __init__(self, kind: str, quirks: Quirks) -> None:
        self.responded = False
        self.began = False
        self.model: str | None = None
        self.id: str | None = None
        self.first_chunk_s: float | None = None
        self.span = NO_SPAN
        self._kind = kind
        self.quirks = quirks
        self._has_choice = False
        self._first_data = ""  # of the first event, for the error of an answer that is none
        self._done = False
        self._ended = False
        self._head = b""
        self._finish_reason: str | None = None
        self._finished = False
        self._finishes_early = False
        self._goes_on = False  # whether the latest chunk had a piece of the answer
        self._tokens = TokenCount()
        self._text, self._thoughts = PairJoiner(), PairJoiner()
        self._think = None if quirks.think == "text" else ThinkSplitter()
        self._tool_calls = ToolCalls()
        self._attachments = Attachments(8 * quirks.piece_characters)

    @property
    def complete(self) -> bool:
        """True once the server has said that the answer is complete, with `[DONE]` or a finish reason.

        Some servers send a finish reason in every chunk. Theirs counts only at the proper end of the body.
        """
        if self._done or (self._ended and self._finish_reason is not None):
            return True
        return self._finished and not self._finishes_early

    def take(self, event: SseEvent) -> Iterator[dict[str, Any]]:
        """Yield the turn's events that one server-sent event stands for.

        Raises:
            BackendReportedError: the event is an error that the server reports, or says that the answer broke off.
            BackendProtocolError: the event is not JSON, or not a chunk of a chat completion.
        """
        if is_done(event):
            self._done = True
            return
        if not event.data.strip():
            return  # a server's way to keep the connection alive
        chunk = self._chunk(event)
        if chunk is None:
            return
        if not self._first_data:
            self._first_data, self.first_chunk_s = event.data, time.perf_counter()
        if self.model is None and isinstance(chunk.model, str):
            self.model = chunk.model
            self.id = chunk.id if isinstance(chunk.id, str) else None
        self._tokens.take(chunk.usage or fields_of(chunk.x_groq).get("usage"))
        yield from self._attachments.take({"citations": chunk.citations, "search_results": chunk.search_results})
        choice = chunk.first_choice
        if choice is not None:
            self._has_choice = True
            yield from self._choice(choice, event.data)

    def end(self, head: bytes) -> None:
        """Note that the body has come to its proper end. `head` is its beginning."""
        self._ended = True
        self._head = head

    def last_events(self) -> list[dict[str, Any]]:
        """Return the events that follow the last chunk: held back text, and a `tool.call` event for each call.

        Raises:
            BackendTruncatedError: the answer is not complete, or was cut inside a tool call.
            BackendProtocolError: there was no answer at all, or a tool call has no name.
            BackendReportedError: the server withheld the answer.
        """
        if not self._has_choice and (self._done or (self._ended and self._first_data != "")):
            raise has_no_answer(self._kind, self._first_data)
        if not self.complete:
            raise self._truncated("the model server's answer stopped before its end")
        reason = self._finish_reason or ""
        if reason and not self.began and (failure := withheld(self._kind, reason)):
            raise failure
        if not self._tool_calls.are_whole and is_cut(reason):
            raise self._truncated("the model's answer was cut inside a tool call", retryable=False)
        events = list(self._rest())
        try:
            events += [{"type": "tool.call", "data": call} for call in self._tool_calls.complete()]
        except ValueError as error:
            raise self._malformed("") from error
        return events + self._attachments.last_events()

    def call(self, model: str, *, partial: bool) -> ModelCall:
        """Return the call, for the ledger. `partial`: it did not come to its end, so it may have used more."""
        tokens = self._tokens
        return ModelCall(
            model,
            tokens.tokens_in,
            tokens.tokens_out,
            None if partial else self._finish_reason,
            cached_tokens=tokens.cached_tokens,
            reasoning_tokens=tokens.reasoning_tokens,
            partial=partial,
        )

    def _chunk(self, event: SseEvent) -> Chunk | None:
        try:
            chunk = decode_chunk(event.data)
        except ValueError as error:
            if event.type == "error":
                raise reported(self._kind, None, event.data) from error
            if self._finished and not self._finishes_early:
                return None  # the answer is complete already; only its usage may be missing
            raise self._malformed(event.data) from error
        if chunk.is_error or event.type == "error":
            raise reported(self._kind, chunk.error, event.data)
        return chunk

    def _choice(self, choice: dict[str, Any], data: str) -> Iterator[dict[str, Any]]:
        if choice.get("error"):
            raise reported(self._kind, choice["error"], data)
        self._goes_on = False
        yield from self._delta(self._delta_of(choice))
        goes_on = self._goes_on
        self.began = self.began or goes_on
        if goes_on and self._finished:
            self._finishes_early = True  # what came before was not the end
        reason = finish_reason_of(choice)
        self._finish_reason = reason or self._finish_reason
        self._finished = reason is not None or (self._finished and not goes_on)
        if reason is not None and (failure := broken_off(self._kind, reason, data)):
            raise failure

    def _delta_of(self, choice: dict[str, Any]) -> dict[str, Any]:
        delta = fields_of(choice.get("delta"))
        if delta:
            return delta
        if isinstance(choice.get("text"), str):
            return {"content": choice["text"]}
        # Some servers repeat the whole message after its pieces.
        return {} if self.began else fields_of(choice.get("message"))

    def _delta(self, delta: dict[str, Any]) -> Iterator[dict[str, Any]]:
        text, thoughts = text_and_thoughts(delta.get("content"))
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")  # a server that sends both repeats itself
        if isinstance(reasoning, str):
            thoughts += reasoning
        if not text and isinstance(delta.get("refusal"), str):
            text = delta["refusal"]  # a refusal is the model's answer to the user
        called = delta.get("tool_calls")
        fragments = called if isinstance(called, list) else []
        if isinstance(delta.get("function_call"), dict):  # the name of the field before there could be several calls
            fragments = [*fragments, {"index": 0, "function": delta["function_call"]}]
        self._goes_on = bool(text or thoughts or fragments)
        yield from self._reasoning(self._thoughts.take(thoughts))
        yield from self._said(self._text.take(text))
        for fragment in fragments:
            yield from self._called(fragment)
        yield from self._attachments.take(delta)

    def _said(self, text: str) -> Iterator[dict[str, Any]]:
        if self._think is not None:
            thoughts, text = self._think.take(text)
            if self.quirks.think == "reasoning":
                yield from self._reasoning(thoughts)
        for piece in self._pieces(text):
            yield text_delta(piece)

    def _reasoning(self, thoughts: str) -> Iterator[dict[str, Any]]:
        for piece in self._pieces(thoughts):
            yield {"type": "reasoning.delta", "data": {"delta": piece}}

    def _called(self, fragment: Any) -> Iterator[dict[str, Any]]:
        try:
            payload = self._tool_calls.add(fragment)
        except ValueError as error:
            raise self._malformed("") from error
        if payload is not None:
            for piece in self._pieces(payload["arguments"]) or [""]:
                yield {"type": "tool.call.delta", "data": payload | {"arguments": piece}}

    def _rest(self) -> Iterator[dict[str, Any]]:
        yield from self._reasoning(self._thoughts.rest())
        yield from self._said(self._text.rest())
        if self._think is not None:
            thoughts, text = self._think.rest()
            if self.quirks.think == "reasoning":
                yield from self._reasoning(thoughts)
            for piece in self._pieces(text):
                yield text_delta(piece)

    def _pieces(self, text: str) -> list[str]:
        """Split a long text, so that each event stays within its limit."""
        size = self.quirks.piece_characters
        if len(text) <= size:
            return [text] if text else []
        return [text[start : start + size] for start in range(0, len(text), size)]

    def _truncated(self, message: str, *, retryable: bool = True) -> BackendTruncatedError:
        body = "" if self._has_choice else self._first_data or self._head
        return BackendTruncatedError(message, kind=self._kind, status=200, retryable=retryable, body=body)

    def _malformed(self, data: str) -> BackendProtocolError:
        message = "the model server's answer is malformed"
        return BackendProtocolError(message, kind=self._kind, status=200, retryable=False, body=data)


def is_done(event: SseEvent) -> bool:
    """Whether the event is the mark that ends a stream. Some servers add blanks or quotes to it."""
    return len(event.data) < 16 and event.data.strip(' \t\r\n"') == DONE


def text_delta(text: str) -> dict[str, Any]:
    """Return the event that adds `text` to the answer."""
    return {"type": PART_UPDATED, "data": {"part": {"type": "text", "id": "text-0"}, "delta": text}}
