"""An HTTP client for the `openai` SDK, and what is built on it, whose requests a backend makes.

So the model requests of other frameworks have what the backend can do: its retries, its way to read what servers send,
and answers that go on where they broke off.
"""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from http import HTTPStatus
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import httpx
import msgspec

from turnwire.shared.errors import TurnFailure
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import ModelCall
from turnwire.worker.backends.errors import BackendTransportError, BackendTruncatedError
from turnwire.worker.backends.model_request import ModelRequest, current_request
from turnwire.worker.backends.openai import OpenAIBackend, call_key, origin_of
from turnwire.worker.backends.sdk_chunks import Chunks, TextReplacedError, document

_OWN_FIELDS: Final = frozenset({"model", "messages", "stream", "stream_options", "tools"})
_OWN_HEADERS: Final = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host"}
    | {"idempotency-key", "openai-organization", "openai-project", "traceparent", "tracestate", "user-agent"}
)
_OWN_PREFIX: Final = "x-stainless-"  # the SDK's headers about itself
_FINAL: Final = {"x-should-retry": "false"}  # the backend has tried already


def sdk_client(backend: OpenAIBackend) -> Any:
    """Return an HTTP client for the `openai` SDK, whose chat completions this backend asks for.

    Give it to `AsyncOpenAI(http_client=…)`, or to what makes such a client. The backend's URL and key count, and those
    of the SDK do not. Inside `model_request`, the requests belong to a turn. Closing the client leaves the backend
    open.

    Returns: an `AsyncClient` of `httpx2` if that is installed, as the SDK wants it since 3.0; otherwise of `httpx`.
    """
    http: Any = httpx if find_spec("httpx2") is None else import_module("httpx2")
    return http.AsyncClient(transport=BackendTransport(backend, http))


class BackendTransport(httpx.AsyncBaseTransport):
    """Answers requests for chat completions with what a backend streams. `http`: the library that sends them."""

    def __init__(self, backend: OpenAIBackend, http: Any = httpx) -> None:
        self._backend = backend
        self._http = http
        self._stream = type("BackendStream", (_Body, http.AsyncByteStream), {})

    async def handle_async_request(self, request: httpx.Request) -> Any:
        """Answer a request; see `httpx.AsyncBaseTransport`."""
        if request.method != "POST" or not request.url.path.endswith("/chat/completions"):
            return self._refusal(HTTPStatus.NOT_FOUND, "this client asks for chat completions only", "not_found")
        fields = msgspec.json.decode(await request.aread(), type=dict[str, Any])
        asked = current_request()
        if asked is not None:
            asked.failure = None
        chunks = self._chunks(fields, _more_headers(request), asked)
        try:
            if not fields.get("stream"):
                return self._http.Response(HTTPStatus.OK, json=document([chunk async for chunk in chunks]))
            first = await anext(chunks)  # from now on, an error cannot have a status
        except TurnFailure as failure:
            status = getattr(failure, "status", 0) or HTTPStatus.SERVICE_UNAVAILABLE
            refused = status if status >= HTTPStatus.BAD_REQUEST else HTTPStatus.BAD_GATEWAY
            return self._refusal(refused, str(failure), getattr(failure, "told_code", failure.code))
        headers = {"content-type": "text/event-stream"}
        body = self._stream(first, chunks, self._http.ReadError)
        return self._http.Response(HTTPStatus.OK, headers=headers, stream=body)

    def _refusal(self, status: int, message: str, code: str) -> Any:
        error = {"message": message, "type": code, "code": code, "param": None}
        return self._http.Response(status, json={"error": error}, headers=_FINAL)

    async def _chunks(
        self, fields: Mapping[str, Any], headers: Mapping[str, str], asked: ModelRequest | None
    ) -> AsyncGenerator[dict[str, Any]]:
        calls: list[ModelCall] = []

        def count(call: ModelCall) -> None:
            calls.append(call)
            if asked is not None:
                asked.count(call)

        begun = asked.take_begun() if asked else ()
        chunks = Chunks(str(fields["model"]), begun)
        try:
            async with aclosing(self._events(fields, headers, asked, count, begun)) as events:
                async for event in events:
                    made = chunks.take(event)
                    for chunk in made or ():
                        yield chunk
                    if made is None and asked is not None:
                        await asked.show(event)
        except TextReplacedError as replaced:
            raise _failed(asked, _cut(self._backend.kind)) from replaced
        except BackendTransportError as failure:
            _failed(asked, failure)
            raise
        for chunk in chunks.last(calls[-1] if calls else None):
            yield chunk

    def _events(
        self,
        fields: Mapping[str, Any],
        headers: Mapping[str, str],
        asked: ModelRequest | None,
        count: Callable[[ModelCall], None],
        begun: Sequence[ChatStreamEvent],
    ) -> AsyncGenerator[dict[str, Any]]:
        return self._backend.stream(
            fields["messages"],
            tools=fields.get("tools") or (),
            options={name: value for name, value in fields.items() if name not in _OWN_FIELDS},
            model=fields["model"],
            headers=headers,
            idempotency_key=call_key(asked.turn, asked.name) if asked else uuid.uuid4().hex,
            on_call=count,
            origin=origin_of(asked.turn, asked.name) if asked else None,
            begun=begun,
        )


class _Body:
    """The body of a streamed answer, as server-sent events. It raises `read_error` if the answer breaks off."""

    def __init__(
        self, first: dict[str, Any], others: AsyncGenerator[dict[str, Any]], read_error: type[Exception]
    ) -> None:
        self._first = first
        self._others = others
        self._read_error = read_error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield _encoded(self._first)
        try:
            async for chunk in self._others:
                yield _encoded(chunk)
        except TurnFailure as failure:
            raise self._read_error(str(failure)) from failure
        yield b"data: [DONE]\n\n"

    async def aclose(self) -> None:
        """Stop the answer."""
        await self._others.aclose()


def _failed(asked: ModelRequest | None, failure: BackendTransportError) -> BackendTransportError:
    if asked is not None:
        asked.failure = failure
    return failure


def _cut(kind: str) -> BackendTransportError:
    message = "the model server does not go on with its answer"
    return BackendTruncatedError(message, kind=kind, status=200, retryable=True)


def _encoded(chunk: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _more_headers(request: httpx.Request) -> dict[str, str]:
    """Return the headers that the program has added to those of the SDK."""
    return {
        name: value
        for name, value in request.headers.items()
        if name not in _OWN_HEADERS and not name.startswith(_OWN_PREFIX)
    }
