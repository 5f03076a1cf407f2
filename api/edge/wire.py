"""The way to one client: whole chunks, straight to its connection.

The body of a stream does not go through ASGI's `send`, which takes a task's turn for each write of each reader: a
publication is written to all the readers of its turn in one go. The head and the end of an answer do.
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

CONNECTION: Final = "turnwire.connection"  # the scope's extension: what api/protocol.py gives to a request
UNSENT_BYTES: Final = 131_072  # that the kernel takes beyond what is on its way: else up to 4 MiB for each slow reader
LOOKS: Final = 4  # in the time that a client may stall

logger = logging.getLogger(__name__)


class Wire:
    """A context manager around the body of one answer. `on_gone` is called when the client has left, at most once.

    A client that takes nothing for `stall_s` seconds (None: never) while something waits for it is cut off. The kernel
    is told the same for what it has taken itself, so that a peer that has vanished, or that stops reading at the very
    end, does not hold a connection for ever either.
    """

    __slots__ = ("_connection", "_flow", "_on_gone", "_stall_s", "_transport", "gone")

    def __init__(self, scope: Scope, stall_s: float | None, on_gone: Callable[[], None]) -> None:
        self._connection: Any = scope["extensions"][CONNECTION]
        self._transport = self._connection.transport
        self._flow = self._connection.flow
        self._stall_s = stall_s or inf
        self._on_gone = on_gone
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
        """It takes no more just now: `drain` first."""
        return bool(self._flow.write_paused)

    def write(self, chunk: bytes) -> None:
        """Send a chunk as encode.py makes it; nothing to a client that is gone."""
        if not self.gone:
            self._transport.write(chunk)

    async def drain(self) -> None:
        """Wait until it takes more, or the client is gone, or was cut off."""
        now = asyncio.get_running_loop().time
        progress, moved_at = _untaken_bytes(self._transport), now()
        while self.full and not self.gone:
            try:
                async with asyncio.timeout(None if self._stall_s == inf else self._stall_s / LOOKS):
                    await self._flow.drain()
            except TimeoutError:
                last, progress = progress, _untaken_bytes(self._transport)
                if progress != last:
                    moved_at = now()
                elif now() - moved_at >= self._stall_s:
                    logger.info("a client took nothing of its stream for %g s and was cut off", self._stall_s)
                    self._transport.abort()  # a close would wait for it
                    self._lost()


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
