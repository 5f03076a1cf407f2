"""Reads the body of a model server's answer. No silence in it may be longer than a limit."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Final

import httpx

from turnwire.worker.backends.answer import DONE, StreamedAnswer, is_done
from turnwire.worker.backends.errors import BODY_LIMIT_BYTES, BackendProtocolError, BackendTruncatedError
from turnwire.worker.backends.retry import RetryPolicy
from turnwire.worker.backends.sse import SseDecoder, SseEvent, SseLimitError

_ERROR_BODY_TIMEOUT_S: Final = 5.0
_END_OF_BODY_TIMEOUT_S: Final = 0.1
_BLANK: Final = b"\xef\xbb\xbf \t\r\n"  # white space, and the mark that may stand at the beginning of UTF-8


async def read_events(
    response: httpx.Response, kind: str, answer: StreamedAnswer, policy: RetryPolicy, max_bytes: int
) -> AsyncGenerator[SseEvent]:
    """Yield the events of a 2xx response, up to and including `[DONE]`. The caller closes the response.

    If the server did not stream but sent one JSON document, these are the document and `[DONE]`. The first character
    tells the two apart, because the media types that servers name are often wrong. When the body has come to its end,
    `answer.end` is called. `max_bytes`: the largest event, or document, that is read.

    Raises:
        BackendTruncatedError: the connection broke, or was silent for longer than the policy allows.
        BackendProtocolError: an event is too large, or the body is a web page or is encoded.
    """
    _refuse_encoded(response, kind)
    pieces = _pieces(response, kind, lambda: policy.silence_ms(answer.began))
    head = await _head(pieces)
    if head.lstrip(_BLANK).startswith(b"<"):
        message = "the model server sent a page and not an answer"
        raise BackendProtocolError(message, kind=kind, status=200, retryable=False, body=head)
    if head.lstrip(_BLANK).startswith((b"{", b"[")):
        yield SseEvent(await _document(head, pieces, kind, max_bytes))
        yield SseEvent(DONE)  # a document that was cut off does not parse
        return
    decoder = SseDecoder(max_bytes)
    piece: bytes | None = head
    while piece is not None:
        try:
            for event in decoder.feed(piece):
                yield event
                if is_done(event):
                    await _drain(pieces)
                    return
        except SseLimitError as error:
            raise _too_large(kind) from error
        piece = await anext(pieces, None)
    answer.end(head)


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


async def _pieces(response: httpx.Response, kind: str, limit_ms: Callable[[], int]) -> AsyncIterator[bytes]:
    pieces = response.aiter_bytes()
    while True:
        silence_ms = limit_ms()
        try:
            # The limit is for the read alone. The time in which our own reader deals with a piece does not count.
            async with asyncio.timeout(silence_ms / 1000 if silence_ms else None):
                piece = await anext(pieces, None)
        except TimeoutError as error:
            raise _stopped(f"sent nothing for {silence_ms} ms", kind) from error
        except httpx.HTTPError as error:
            raise _stopped("broke off its answer", kind) from error
        if piece is None:
            return
        yield piece


async def _head(pieces: AsyncIterator[bytes]) -> bytes:
    """Return the beginning of the body, up to its first character that is not blank."""
    head = b""
    async for piece in pieces:
        head += piece
        if head.lstrip(_BLANK) or len(head) > BODY_LIMIT_BYTES:
            break
    return head


async def _document(head: bytes, pieces: AsyncIterator[bytes], kind: str, max_bytes: int) -> str:
    document = bytearray(head)
    async for piece in pieces:
        document += piece
        if len(document) > max_bytes:
            raise _too_large(kind)
    return document.decode("utf-8-sig", "replace")


def _refuse_encoded(response: httpx.Response, kind: str) -> None:
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
        message = f"the model server's answer is encoded as {encoding[:20]}, which was not asked for"
        raise BackendProtocolError(message, kind=kind, status=200, retryable=False)


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
