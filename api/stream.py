"""Sends a tail to a client: each batch in one piece, silence as the form and the client want it."""

import asyncio
from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from api.accept import JSON, choose
from api.encode import NDJSON, SSE, Framing
from api.requests import joined, query_seconds
from api.tail import Tail

SSE_COMMENT_S = 15.0
FRAMINGS: Mapping[str, Framing] = {framing.media_type: framing for framing in (NDJSON, SSE)}


def negotiate(scope: Scope, *, record: bool = False) -> Framing | None:
    """The stream form that the client asks for; None: it wants the record as JSON, which `record` allows.

    Raises:
        NotAcceptable: it wants none of them.
    """
    offers = [*FRAMINGS, JSON] if record else [*FRAMINGS]
    return FRAMINGS.get(choose(joined(Headers(scope=scope), "accept"), offers))


def silence_s(scope: Scope, framing: Framing) -> float | None:
    """After how many seconds of silence the client wants a sign of life; None: never.

    Raises:
        BadRequest: `keepalive` is not a number from 1 to 60.
    """
    wanted = query_seconds(scope, "keepalive", least=1, most=60)
    return SSE_COMMENT_S if wanted is None and framing is SSE else wanted


async def send_tail(
    tail: Tail, framing: Framing, headers: Mapping[str, str], receive: Receive, send: Send
) -> bool:  # fmt: skip
    """Stream until the tail ends or the client is gone; the body always ends after a whole event.

    Returns: True if the client left before the end.
    """
    await send(_start(framing, headers))
    if framing.opening:
        await send(_chunk(framing.opening))
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(_stop_when_gone(tail, receive))
        async for batch in tail:
            await send(_chunk(framing.lines(batch) if batch else framing.silence))
        client_left = watch.done()
        watch.cancel()
    await send({"type": "http.response.body", "body": b""})
    return client_left


async def send_events(events: Sequence[bytes], framing: Framing, headers: Mapping[str, str], send: Send) -> None:
    """Answer with events that stand in no log."""
    await send(_start(framing, headers))
    body = framing.opening + b"".join([framing.bare(event) for event in events])
    await send({"type": "http.response.body", "body": body})


async def _stop_when_gone(tail: Tail, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    tail.stop()


def stream_headers(framing: Framing) -> dict[str, str]:
    """What every stream says about itself: nobody may keep it, and no proxy may hold it back."""
    return {"content-type": framing.media_type, "cache-control": "no-store", "x-accel-buffering": "no"}


def _start(framing: Framing, headers: Mapping[str, str]) -> dict[str, object]:
    named = {**stream_headers(framing), **headers}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}


def _chunk(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}
