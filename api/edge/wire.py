"""Writes the body of a stream to one client: whole chunks, directly to its connection.

ASGI's `send` would have to wake a task for every write to every reader. Written directly, a publication reaches all the
readers of its turn in one loop. Only the head and the end of an answer go through `send`. The head is sent inside the
context, because a client may leave before it is sent.
"""

import asyncio
import logging
import socket
from array import array
from collections.abc import Callable
from contextlib import suppress
from fcntl import ioctl
from math import inf
from termios import TIOCOUTQ
from typing import Any, Final, Self

from starlette.types import Scope

from turnwire.shared.metrics import counter

REQUEST_ID: Final = "turnwire.request_id"  # the extension of the ASGI scope that holds the id of the request
CONNECTION: Final = "turnwire.connection"  # the extension of the ASGI scope in which protocol.py puts the connection
UNSENT_BYTES: Final = 131_072  # the kernel holds so much for a slow reader; without this limit up to 4 MiB
PROGRESS_CHECKS: Final = 4  # so many times within `stall_s`, it is checked whether a client still reads

STALLED: Final = counter("turnwire_stalled_clients_total")

logger = logging.getLogger(__name__)


class Wire:
    """A context manager around the body of one answer. `on_gone` is called at most once, when the client has left.

    A client that takes nothing for `stall_s` seconds while data waits for it is cut off (None: never). The kernel gets
    the same limit for the data that it buffers itself. Without that, a peer that has vanished, or that stops reading
    at the very end, would hold its connection for ever.
    """

    __slots__ = ("_connection", "_flow", "_on_gone", "_stall_s", "_transport", "_write", "gone")

    def __init__(self, scope: Scope, stall_s: float | None, on_gone: Callable[[], None]) -> None:
        self._connection: Any = scope["extensions"][CONNECTION]
        self._transport = self._connection.transport
        self._flow = self._connection.flow
        self._stall_s = stall_s or inf
        self._on_gone = on_gone
        self._write = self._transport.write
        if scope["http_version"] == "1.0":
            self._connection.send_until_closed()
            self._write = self._write_unchunked
        self.gone = False

    def __enter__(self) -> Self:
        self._connection.on_lost = self._lost
        if self._transport.is_closing():
            self._lost()
        elif self._stall_s < inf:
            _limit_kernel(self._transport.get_extra_info("socket"), self._stall_s)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.on_lost = None

    def _lost(self) -> None:
        if not self.gone:
            self.gone = True
            self._on_gone()

    @property
    def full(self) -> bool:
        """Whether the client takes no more for now. Then call `drain` before the next `write`."""
        return bool(self._flow.write_paused)

    def write(self, chunk: bytes) -> None:
        """Send a chunk as encode.py makes it. It does nothing if the client is gone."""
        if not self.gone:
            self._write(chunk)

    def _write_unchunked(self, chunk: bytes) -> None:
        self._transport.write(chunk[chunk.find(b"\r\n") + 2 : -2])

    async def drain(self) -> None:
        """Wait until the client takes more, is gone, or was cut off."""
        now = asyncio.get_running_loop().time
        progress, moved_at = _untaken_bytes(self._transport), now()
        while self.full and not self.gone:
            try:
                async with asyncio.timeout(None if self._stall_s == inf else self._stall_s / PROGRESS_CHECKS):
                    await self._flow.drain()
            except TimeoutError:
                last, progress = progress, _untaken_bytes(self._transport)
                if progress != last:
                    moved_at = now()
                elif now() - moved_at >= self._stall_s:
                    STALLED.add()
                    logger.info("a client took nothing of its stream for %g s and was cut off", self._stall_s)
                    self._transport.abort()  # a close would wait for the client
                    self._lost()


def _untaken_bytes(transport: Any) -> int:
    """Return how many bytes wait for the client in the transport and, if the system tells it, in the kernel."""
    in_kernel = array("i", [0])
    with suppress(OSError, ValueError):
        ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, in_kernel)
    return int(transport.get_write_buffer_size()) + in_kernel[0]


def _limit_kernel(connection: socket.socket, stall_s: float) -> None:
    """Limit the memory that a slow reader costs and the time until a vanished one is noticed, if the system can."""
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
