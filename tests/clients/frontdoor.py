"""Stands between clients and the API, as the web server of a product does. It passes /v1 on, and serves a page.

What the page posts to /heard is kept. The front door can also break connections: `cut_at` is a list of byte strings.
The first connection that carries the first string is reset right after it; then the next string counts, and so on.
"""

import asyncio
from contextlib import suppress
from typing import Any, Self

from tests.support.rawtail import address


class FrontDoor:
    """An async context manager. Clients get `url` as their address."""

    def __init__(self, api_url: str, page: str = "", port: int = 0) -> None:
        self.cut_at: list[bytes] = []
        self.requests: list[bytes] = []  # the heads of all requests that were passed on
        self.heard: list[str] = []  # what the page posted to /heard
        self._api = address(api_url)
        self._page = page.encode()
        self._port = port
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_length(head))
                if head.split(b" ")[1].startswith(b"/v1/"):
                    await self._pass_on(head, body, reader, writer)
                else:
                    await self._answer(head, body, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"POST /heard "):
            self.heard.append(body.decode())
        page = self._page if head.startswith(b"GET /page") else b""
        lines = ["HTTP/1.1 200 OK", "Content-Type: text/html; charset=utf-8", "Connection: close"]
        writer.write("\r\n".join([*lines, f"Content-Length: {len(page)}", "", ""]).encode() + page)
        await writer.drain()

    async def _pass_on(
        self, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.requests.append(head)
        up_reader, up_writer = await asyncio.open_connection(*self._api)
        leaving = asyncio.create_task(_closed(reader, up_writer))
        try:
            kept = [line for line in head.split(b"\r\n")[:-2] if not line.lower().startswith(b"connection:")]
            up_writer.write(b"\r\n".join([*kept, b"Connection: close", b"", b""]) + body)
            while data := await up_reader.read(65_536):
                place = data.find(self.cut_at[0]) if self.cut_at else -1
                if place >= 0:
                    writer.write(data[: place + len(self.cut_at.pop(0))])
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()
        finally:
            leaving.cancel()
            up_writer.close()


async def _closed(reader: asyncio.StreamReader, up_writer: asyncio.StreamWriter) -> None:
    """Close the connection to the API when the client has left."""
    with suppress(OSError):
        await reader.read(1)
        up_writer.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0
