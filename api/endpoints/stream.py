"""Sends the events of a tail to a client, and a sign of life during a silence if the client or the framing wants one.

A client that reads slowly is served at its own pace. One that takes nothing at all is cut off; it may resume.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from turnwire.api.edge.accept import JSON, choose
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import joined, query_seconds
from turnwire.api.edge.wire import Wire
from turnwire.api.following.encode import NDJSON, SSE, Encoder, Framing, chunk
from turnwire.api.following.publication import Publication
from turnwire.api.following.tail import Tail

SSE_COMMENT_S: Final = 15.0
FRAMINGS: Mapping[str, Framing] = {framing.media_type: framing for framing in (NDJSON, SSE)}


def negotiate(exchange: Exchange, *, record: bool = False) -> Framing | None:
    """The framing that the client asks for. None: it wants the record as JSON, which is possible only with `record`.

    Raises:
        NotAcceptable: it accepts none of them.
    """
    offers = [*FRAMINGS, JSON] if record else [*FRAMINGS]
    return FRAMINGS.get(choose(joined(exchange.headers, "accept"), offers))


def silence_s(exchange: Exchange, framing: Framing) -> float | None:
    """The seconds of silence after which the client gets a sign of life; None: never.

    Raises:
        BadRequest: `keepalive` is not a number from 1 to 60.
    """
    wanted = query_seconds(exchange, "keepalive", least=1, most=60)
    return SSE_COMMENT_S if wanted is None and framing is SSE else wanted


async def send_tail(
    tail: Tail, encoder: Encoder, headers: Mapping[str, str], stall_s: float | None, exchange: Exchange
) -> bool:  # fmt: skip
    """Stream until the tail ends or the client is gone; the body always ends after a whole event.

    `stall_s`: the seconds for which the client may take nothing; None: for ever. Returns: True if it left before
    the end.
    """
    framing = encoder.framing
    with Wire(exchange.scope, stall_s, on_gone=tail.stop) as wire:
        await exchange.send(_start(framing, headers))

        def push(publication: Publication) -> bool:
            if wire.full:
                return False
            for ready in encoder.chunks(publication.entries):
                wire.write(ready)
            return True

        wire.write(chunk(framing.opening))
        tail.push = push
        async for batch in tail:
            for ready in encoder.chunks(batch) if batch else (chunk(framing.silence),):
                wire.write(ready)
                if wire.full:
                    await wire.drain()
    await exchange.send({"type": "http.response.body", "body": b""})
    return wire.gone


async def send_events(
    events: Sequence[bytes], framing: Framing, headers: Mapping[str, str], exchange: Exchange
) -> None:  # fmt: skip
    """Answer with events that are in no log."""
    body = framing.answer(events)
    await exchange.send(_start(framing, {**headers, "content-length": str(len(body))}))
    await exchange.send({"type": "http.response.body", "body": body})


def stream_headers(framing: Framing) -> dict[str, str]:
    """The headers of every stream: no cache may keep it, and no proxy may buffer it."""
    return {"content-type": framing.media_type, "cache-control": "no-store", "x-accel-buffering": "no"}


def _start(framing: Framing, headers: Mapping[str, str]) -> dict[str, object]:
    named = {**stream_headers(framing), **headers}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}
