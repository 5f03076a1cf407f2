"""Reads the body of a model server's answer. No silence in it may be longer than a limit."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Final

import httpx

from turnwire.worker.backends.answer import DONE
from turnwire.worker.backends.errors import BODY_LIMIT_BYTES, BackendProtocolError, BackendTruncatedError
from turnwire.worker.backends.sse import DEFAULT_MAX_EVENT_BYTES, SseDecoder, SseEvent, SseLimitError

_ERROR_BODY_TIMEOUT_S: Final = 5.0
_END_OF_BODY_TIMEOUT_S: Final = 0.1


async def read_events(response: httpx.Response, kind: str, idle_timeout_ms: int) -> AsyncGenerator[SseEvent]:
    """Yield the events of a 2xx response, up to and including `[DONE]`.

    If the server did not stream but sent one JSON document, these are the document and `[DONE]`. The caller closes the
    response. `idle_timeout_ms`: the longest silence; 0: no limit.

    Raises:
        BackendTruncatedError: the connection broke, or was silent for too long.
        BackendProtocolError: an event is larger than 1 MiB.
    """
    pieces = _pieces(response, kind, idle_timeout_ms)
    if response.headers.get("content-type", "").lower().startswith("application/json"):
        yield SseEvent(await _document(pieces, kind))
        yield SseEvent(DONE)  # a document that was cut off does not parse
        return
    decoder = SseDecoder()
    async for piece in pieces:
        try:
            for event in decoder.feed(piece):
                yield event
                if event.data == DONE:
                    await _drain(pieces)
                    return
        except SseLimitError as error:
            raise _too_large(kind) from error


async def read_error_body(response: httpx.Response) -> bytes:
    """Read at most 2 KiB of an error response, and close it. Whatever the server does, this raises nothing."""
    body = bytearray()
    try:
        with suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(_ERROR_BODY_TIMEOUT_S):
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) >= BODY_LIMIT_BYTES:
                        break
    finally:
        await response.aclose()
    return bytes(body[:BODY_LIMIT_BYTES])


async def _pieces(response: httpx.Response, kind: str, idle_timeout_ms: int) -> AsyncIterator[bytes]:
    pieces = response.aiter_bytes()
    while True:
        try:
            # The limit is for the read alone. The time in which our own reader deals with a piece does not count.
            async with asyncio.timeout(idle_timeout_ms / 1000 if idle_timeout_ms else None):
                piece = await anext(pieces, None)
        except TimeoutError as error:
            raise _stopped(f"sent nothing for {idle_timeout_ms} ms", kind) from error
        except httpx.HTTPError as error:
            raise _stopped("broke off its answer", kind) from error
        if piece is None:
            return
        yield piece


async def _document(pieces: AsyncIterator[bytes], kind: str) -> str:
    document = bytearray()
    async for piece in pieces:
        document += piece
        if len(document) > DEFAULT_MAX_EVENT_BYTES:
            raise _too_large(kind)
    return document.decode("utf-8", "replace")


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    # The end of the body follows `[DONE]` at once. The connection can be used again only if that end was read.
    with suppress(TimeoutError, BackendTruncatedError):
        async with asyncio.timeout(_END_OF_BODY_TIMEOUT_S):
            async for _ in pieces:
                pass


def _stopped(what: str, kind: str) -> BackendTruncatedError:
    return BackendTruncatedError(f"the model server {what}", kind=kind, status=200, retryable=True)


def _too_large(kind: str) -> BackendProtocolError:
    message = "the model server sent an event that is too large"
    return BackendProtocolError(message, kind=kind, status=200, retryable=False)
