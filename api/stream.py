"""Sends a tail to a client: each burst in one piece, silence as the form and the client want it.

A client that reads slowly is followed at its pace; one that takes nothing at all is cut off, and may resume.
"""

import asyncio
import logging
import socket
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fcntl import ioctl
from math import inf
from termios import TIOCOUTQ
from typing import Any, Final, Self

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from api.accept import JSON, choose
from api.encode import NDJSON, SSE, Framing
from api.requests import joined, query_seconds
from api.tail import Tail

SSE_COMMENT_S = 15.0
UNSENT_BYTES: Final = 131_072  # that the kernel takes beyond what is on its way: else up to 4 MiB for each slow reader
LOOKS: Final = 4  # in the time that a client may stall
FRAMINGS: Mapping[str, Framing] = {framing.media_type: framing for framing in (NDJSON, SSE)}
_log = logging.getLogger(__name__)


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
    with _Line(send, receive, tail.stall_s) as line:
        await line.send(_start(framing, headers))
        if framing.opening:
            await line.send(_chunk(framing.opening))
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_stop_when_gone(tail, receive))
            async for batch in tail:
                for piece in framing.pieces(batch) if batch else (framing.silence,):
                    await line.send(_chunk(piece))
            client_left = watch.done()
            watch.cancel()
        await line.send({"type": "http.response.body", "body": b""})
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


class _Line:
    """The way to one client; cut off when the client takes nothing for `stall_s` seconds (None: never).

    Seen here while a `send` waits. The kernel is told the same for what it has taken itself, so that a peer that has
    vanished, or that stops reading at the very end, does not hold a connection for ever either.
    """

    def __init__(self, send: Send, receive: Receive, stall_s: float | None) -> None:
        self._send = send
        self._stall_s = stall_s or inf
        self._waits = False
        self._sent = 0
        self._progress: tuple[int, int] | None = None
        self._moved_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # ASGI has no way to break a connection off; uvicorn's `receive` is a method of the request that has it
        self._transport: Any = getattr(getattr(receive, "__self__", None), "transport", None)

    def __enter__(self) -> Self:
        if self._transport and self._stall_s < inf:
            _limit_kernel(self._transport.get_extra_info("socket"), self._stall_s)
            self._look_later()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer:
            self._timer.cancel()

    async def send(self, message: dict[str, Any]) -> None:
        self._waits = True
        await self._send(message)
        self._waits = False
        self._sent += 1

    def _look_later(self) -> None:
        # one timer per stream: one per `send` would cost more than the `send`
        self._timer = asyncio.get_running_loop().call_later(self._stall_s / LOOKS, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        progress = (self._sent, _untaken_bytes(self._transport)) if self._waits else None
        if progress is None or progress != self._progress:
            self._progress, self._moved_at = progress, now
        elif now - self._moved_at >= self._stall_s:
            _log.info("a client took nothing of its stream for %g s and was cut off", self._stall_s)
            self._transport.abort()  # `send` returns, `receive` reports the disconnect; a close would wait for it
            return
        self._look_later()


def _untaken_bytes(transport: Any) -> int:
    """What was sent and not acknowledged by the client's system, here and, where the kernel tells it, there."""
    in_kernel = array("i", [0])
    with suppress(OSError, ValueError):
        ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, in_kernel)
    return int(transport.get_write_buffer_size()) + in_kernel[0]


def _limit_kernel(connection: socket.socket, stall_s: float) -> None:
    """Little memory for a slow reader, an end for one that is gone; each option where the system has it."""
    ms, seconds = round(stall_s * 1000), max(1, round(stall_s / 2))
    options = {
        "TCP_NOTSENT_LOWAT": UNSENT_BYTES,
        "TCP_USER_TIMEOUT": ms,
        "TCP_KEEPIDLE": seconds,
        "TCP_KEEPINTVL": seconds,
    }
    with suppress(OSError, ValueError):  # the client may have left already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if option := getattr(socket, name, None):
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
