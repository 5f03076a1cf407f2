"""Sends the events of a tail to a client, and a sign of life during a silence if the client or the framing wants one.

A client that reads slowly is served at its own pace. A client that reads nothing for long is cut off; it may resume.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from turnwire.api.edge.accept import JSON, choose
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import joined, query_seconds, query_text
from turnwire.api.edge.wire import Wire
from turnwire.api.following.change import ChangeCursor
from turnwire.api.following.encode import NDJSON, SSE, SSE_DATA, Encoder, Framing, chunk
from turnwire.api.following.follower import Follower
from turnwire.api.following.publication import Publication
from turnwire.api.following.tail import Tail
from turnwire.shared.errors import BadRequest
from turnwire.shared.events import Cursor, Entry, stream_ended

SSE_COMMENT_S: Final = 15.0
PROXIED_KEEPALIVE_S: Final = 45.0  # common proxies end a connection after 50 or 60 s of silence
BY_A_PROXY: Final = ("x-forwarded-for", "forwarded", "via")
FRAMINGS: Mapping[str, Framing] = {framing.media_type: framing for framing in (NDJSON, SSE)}
SSE_FORMS: Mapping[str, Framing] = {"event": SSE, "data": SSE_DATA}  # by the query parameter `sse`


def is_sse(framing: Framing) -> bool:
    """True for both forms of server-sent events."""
    return framing.media_type == SSE.media_type


def negotiate(exchange: Exchange, *, record: bool = False) -> Framing | None:
    """Return the framing that the client asks for. None means the record as JSON, which is offered only with `record`.

    Raises:
        NotAcceptable: it accepts none of them.
        BadRequest: `sse` is neither `event` nor `data`.
    """
    offers = [*FRAMINGS, JSON] if record else [*FRAMINGS]
    framing = FRAMINGS.get(choose(joined(exchange.headers, "accept"), offers))
    named = query_text(exchange, "sse") or "event"
    if named not in SSE_FORMS:
        raise BadRequest("sse must be one of: " + ", ".join(SSE_FORMS))
    return SSE_FORMS[named] if framing is SSE else framing


def silence_s(exchange: Exchange, framing: Framing) -> float | None:
    """Return after how many seconds of silence the client gets a sign of life; None: never.

    Without a wish of the client, an NDJSON stream has none, unless the request came through a proxy: a client that
    cannot skip an empty line would lose its connection otherwise.

    Raises:
        BadRequest: `keepalive` is not a number from 1 to 60.
    """
    wanted = query_seconds(exchange, "keepalive", least=1, most=60)
    if wanted is not None:
        return wanted
    if is_sse(framing):
        return SSE_COMMENT_S
    return PROXIED_KEEPALIVE_S if any(name in exchange.headers for name in BY_A_PROXY) else None


async def send_tail(
    tail: Tail | Follower,
    encoder: Encoder,
    headers: Mapping[str, str],
    stall_s: float | None,
    exchange: Exchange,
    on_first: Callable[[], None] | None = None,
) -> bool:
    """Stream until the tail ends, the client is gone, or its credentials end. The body always ends after a whole event.

    If the credentials end, `session.stream.ended` is the last event. It is in no log, so it repeats the last cursor.
    `stall_s`: how many seconds the client may read nothing; None: no limit. `on_first`: called after the first event.

    Returns: True if the client left before the end.
    """
    return await _Sender(tail, encoder, on_first).send(headers, stall_s, exchange)


class _Sender:
    """One stream: how the events of a tail come to the wire. It has slots, because an API holds thousands of them."""

    __slots__ = ("_encoder", "_ended", "_on_first", "_tail", "_wire")

    def __init__(self, tail: Tail | Follower, encoder: Encoder, on_first: Callable[[], None] | None) -> None:
        self._tail = tail
        self._encoder = encoder
        self._on_first = on_first  # None when it was called
        self._ended: str | None = None  # the code that says why the credentials ended

    async def send(self, headers: Mapping[str, str], stall_s: float | None, exchange: Exchange) -> bool:
        tail, framing = self._tail, self._encoder.framing
        with exchange.while_valid(self._end), Wire(exchange.scope, stall_s, on_gone=tail.stop) as wire:
            self._wire = wire
            await exchange.send(start_of_stream(framing, headers))
            wire.write(chunk(framing.opening))
            tail.push = self._push if self._on_first is None else self._push_first
            try:
                async for batch in tail:
                    for ready in self._encoder.chunks(batch) if batch else (chunk(framing.silence),):
                        wire.write(ready)
                        if wire.full:
                            await wire.drain()
                    if batch:
                        self._has_first()
            finally:
                tail.push = None  # it refers back to the tail through this object: without it, both are freed at once
            if self._ended is not None:
                wire.write(chunk(last_words(framing, self._ended, tail.cursor)))
        await exchange.send({"type": "http.response.body", "body": b""})
        return wire.gone

    def _end(self, code: str) -> None:
        self._ended = code
        self._tail.stop()

    def _push(self, publication: Publication) -> bool:
        wire = self._wire
        if wire.full:
            return False
        for ready in self._encoder.chunks(publication.entries):
            wire.write(ready)
        return True

    def _push_first(self, publication: Publication) -> bool:
        """Push the first publication. Later ones do not look whether they are the first."""
        if not self._push(publication):
            return False
        self._tail.push = self._push
        self._has_first()
        return True

    def _has_first(self) -> None:
        on_first, self._on_first = self._on_first, None
        if on_first is not None:
            on_first()


def last_words(framing: Framing, code: str, cursor: Cursor | ChangeCursor | None) -> bytes:
    """Return the event that ends a stream before its turn. It repeats the last cursor, so that clients keep it."""
    after = None if cursor is None else str(cursor)
    event = stream_ended(code, after)
    return framing.bare(event) if after is None else framing.lines([Entry(after.encode(), event)])


async def send_events(
    events: Sequence[bytes], framing: Framing, headers: Mapping[str, str], exchange: Exchange
) -> None:  # fmt: skip
    """Answer with events that are in no log."""
    body = framing.answer(events)
    if exchange.scope["http_version"] == "1.0":  # it knows no chunks
        headers = {**headers, "content-length": str(len(body))}
    await exchange.send(start_of_stream(framing, headers))
    await exchange.send({"type": "http.response.body", "body": body})


def stream_headers(framing: Framing) -> dict[str, str]:
    """Return the headers of every stream. They say that no cache may keep it and no proxy may buffer it."""
    return {"content-type": framing.media_type, "cache-control": "no-store", "x-accel-buffering": "no"}


def start_of_stream(framing: Framing, headers: Mapping[str, str]) -> dict[str, object]:
    """The message of ASGI that begins a stream."""
    named = {**stream_headers(framing), **headers}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}
