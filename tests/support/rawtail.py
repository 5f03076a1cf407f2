"""Clients that are only a socket. They read when the test tells them to, and leave as it tells them to."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from tests.support.waiting import wait_until

LAST_CHUNK: Final = b"0\r\n\r\n"
LIMIT_S: Final = 20.0


def request(path: str, host: str = "localhost", **headers: str) -> bytes:
    """Return a GET request as bytes."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def address(base_url: str) -> tuple[str, int]:
    parts = urlsplit(base_url)
    return parts.hostname or "", parts.port or 80


def open_stalled(base_url: str, path: str) -> socket.socket:
    """Return a client that sends a request and then reads nothing. Little fits into its own buffer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(LIMIT_S)
    connection.connect(address(base_url))
    connection.sendall(request(path))
    return connection


def wait_for_a_byte(connection: socket.socket) -> None:
    """Wait until the answer has begun, also if the client is cut off then. Nothing of the answer is read."""
    assert connection.recv(1, socket.MSG_PEEK)


def read_all(connection: socket.socket) -> bytes:
    """Return the bytes until the stream ends or the connection breaks, without their HTTP framing."""
    raw = b""
    try:
        while not raw.endswith(LAST_CHUNK) and (data := connection.recv(1_048_576)):
            raw += data
    except ConnectionError:
        pass  # the connection was reset: the bytes that had arrived before count
    return unchunk(raw.partition(b"\r\n\r\n")[2])


def unchunk(raw: bytes) -> bytes:
    """Return a chunked body as far as it has come."""
    body = b""
    while b"\r\n" in raw:
        size, _, raw = raw.partition(b"\r\n")
        body, raw = body + raw[: int(size, 16)], raw[int(size, 16) + 2 :]
    return body


def finish(connection: socket.socket) -> None:
    """Leave with a FIN."""
    connection.close()


def reset(connection: socket.socket) -> None:
    """Leave with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def visit(base_url: str, path: str, needle: bytes, leave: Callable[[socket.socket], None]) -> None:
    """Send a request, read until the needle has come, and leave."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setblocking(False)
    await loop.sock_connect(connection, address(base_url))
    await loop.sock_sendall(connection, request(path))
    seen = b""
    while needle not in seen:
        data = await loop.sock_recv(connection, 65_536)
        assert data, seen
        seen += data
    leave(connection)


class Reader(asyncio.Protocol):
    """A client that reads at once and counts. `ended` is set when its stream is complete or has broken off."""

    def __init__(self, path: str) -> None:
        self.received = 0
        self.started = False  # whether the log's first event has come
        self.complete = False
        self.ended = asyncio.Event()
        self._path = path
        self._head = b""
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(request(self._path))

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if not self.started:
            self._head += data
            self.started = b"session.run.started" in self._head
        self._last = (self._last + data)[-len(LAST_CHUNK) :]
        if self._last == LAST_CHUNK:
            self.complete = True
            self.ended.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set()


@asynccontextmanager
async def readers(base_url: str, *paths: str) -> AsyncIterator[list[Reader]]:
    """Connect a client for each path, and wait until all have the first event. Those left at the end are closed."""
    loop = asyncio.get_running_loop()
    opened: list[Reader] = []
    try:
        for path in paths:
            _, reader = await loop.create_connection(partial(Reader, path), *address(base_url))
            opened.append(reader)
        await wait_until(lambda: all(reader.started for reader in opened), "every reader has the first event")
        yield opened
    finally:
        for reader in opened:
            reader.transport.abort()
        for _ in range(3):
            await asyncio.sleep(0)  # the transports close
