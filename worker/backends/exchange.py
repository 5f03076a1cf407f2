"""The requests of one call of a model, as OpenAI's chat completions and llama.cpp's kept streams define them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Final

import msgspec

from turnwire.worker.backends.answer import StreamedAnswer
from turnwire.worker.backends.body import read_events
from turnwire.worker.backends.errors import BackendTransportError, BackendTruncatedError
from turnwire.worker.backends.retry import RetryPolicy
from turnwire.worker.backends.sse import SseEvent
from turnwire.worker.backends.traced import request_span
from turnwire.worker.backends.transport import Transport

logger = logging.getLogger(__name__)

_NOT_THERE: Final = (404, 405, 501)
STOP_S: Final = 0.9  # a cancelled call has a second before it is cancelled again
STREAM_PATH: Final = b"/stream"


class Asked(msgspec.Struct, frozen=True):
    """One request of a call.

    Attributes:
        request: its fields.
        key_suffix: added to the idempotency key, because another request needs another key.
        attempt: its number in words, for messages.
        generation_id: the id under which the server is to keep the answer; None: it need not.
        reads: whether what the server keeps under that id is read from its beginning, instead of asking the model.
    """

    request: Mapping[str, Any]
    key_suffix: str
    attempt: str
    generation_id: str | None = None
    reads: bool = False


class ChatExchange:
    """Sends the requests of one call.

    `headers`: those of each request; `Idempotency-Key` is one of them. `tells_trace`: whether the server is told the
    trace of the call.
    """

    def __init__(
        self, transport: Transport, policy: RetryPolicy, kind: str, headers: Mapping[str, str], *, tells_trace: bool
    ) -> None:
        self._transport = transport
        self._policy = policy
        self._kind = kind
        self._headers = headers
        self._tells_trace = tells_trace

    async def ask(self, asked: Asked, answer: StreamedAnswer) -> AsyncGenerator[dict[str, Any]]:
        """Send a request, and yield the events of its answer.

        Raises:
            BackendTransportError: there was no 2xx response. Its subclasses say that there is no complete answer.
        """
        headers = {**self._headers, "Idempotency-Key": self._headers["Idempotency-Key"] + asked.key_suffix}
        body, where = self._request_of(asked, headers)
        translate = self._translation(answer)
        answer.span = request_span(asked.request, self._kind, self._transport.url, reads=asked.reads)
        if self._tells_trace and (context := answer.span.context) is not None:
            headers |= context.headers()
        async with self._transport.exchange(body, headers, asked.attempt, **where) as response:
            answer.responded = True
            received = read_events(response, self._kind, answer, self._policy, answer.quirks.max_answer_bytes)
            try:
                async with aclosing(received) as wire_events:
                    async for wire_event in wire_events:
                        for event in translate(wire_event):
                            yield event
            except BackendTruncatedError:
                if not answer.complete:
                    raise
                # The answer is complete. Only its usage may be missing.

    def _request_of(self, asked: Asked, headers: dict[str, str]) -> tuple[bytes | None, dict[str, Any]]:
        """Return the body of a request, and where it goes. It may add to the headers."""
        if asked.reads:
            query = {"conv_id": asked.generation_id or "", "from": "0"}
            return None, {"method": "GET", "path": STREAM_PATH, "query": query}
        if asked.generation_id is not None:
            headers["X-Conversation-Id"] = asked.generation_id
        return msgspec.json.encode(asked.request), {}

    def _translation(self, answer: StreamedAnswer) -> Callable[[SseEvent], Iterator[dict[str, Any]]]:
        """Return what makes events of the turn from those of the server."""
        return answer.take

    async def stop(self, generation_id: str) -> None:
        """Let the server stop an answer that nobody wants any more, and forget it. There need not be one."""
        try:
            async with asyncio.timeout(STOP_S):
                await self._stop(generation_id)
        except (BackendTransportError, TimeoutError) as error:
            logger.warning("the model server was not told to stop an answer: %s", error)

    async def _stop(self, generation_id: str) -> None:
        await self._delete(generation_id)

    async def keeps_answers(self) -> bool:
        """Whether the server goes on with answers by itself, and keeps them. llama.cpp does since the middle of 2026.

        Raises:
            BackendTransportError: there was no answer.
        """
        return await self._delete("an answer that does not exist") == HTTPStatus.NO_CONTENT

    async def _delete(self, generation_id: str) -> int:
        """Return the status of the response, which may be a refusal."""
        return await self._send(method="DELETE", path=STREAM_PATH, query={"conv_id": generation_id})

    async def _send(self, **where: Any) -> int:
        """Send a request that is no call of the model, and return the status of the response."""
        headers = {name: value for name, value in self._headers.items() if name != "Idempotency-Key"}
        try:
            async with self._transport.exchange(None, headers, "to stop an answer", **where) as response:
                await response.aread()  # so that the connection can be used again
                return response.status_code
        except BackendTransportError as refusal:
            if refusal.status not in _NOT_THERE:
                raise
            return refusal.status
