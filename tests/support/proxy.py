"""A TCP proxy between one process and its Redis, in the test's event loop. It is a network that a test can break.

pass        forwards in both directions
hold        forwards nothing until it passes again; then all bytes arrive, as after a partition
black hole  forwards nothing; connections that it has met stay silent for ever, as if the peer had vanished
deaf        forwards commands, but no replies; connections that it has met never get replies again
"""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Literal, Self
from urllib.parse import urlsplit

Mode = Literal["pass", "hold", "black hole", "deaf"]


class Proxy:
    """An async context manager. The process gets `url` as the URL of its Redis."""

    def __init__(self, redis_url: str) -> None:
        self._target = urlsplit(redis_url)
        self._mode: Mode = "pass"
        self._passes = asyncio.Event()
        self._passes.set()
        self._links: set[_Link] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*(link.task for link in self._links if link.task), return_exceptions=True)

    def set(self, mode: Mode) -> None:
        self._mode = mode
        if mode in {"black hole", "deaf"}:
            for link in self._links:
                link.spoiled.add("replies")
                if mode == "black hole":
                    link.spoiled.add("commands")
        if mode == "hold":
            self._passes.clear()
        else:
            self._passes.set()

    def lead_to(self, redis_url: str) -> None:
        """Lead new connections to another server, as a name or a load balancer does after a failover."""
        self._target = urlsplit(redis_url)

    def reset(self) -> None:
        """End every connection with a RST."""
        for link in self._links:
            if link.writer is not None:
                sock = link.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                link.writer.transport.abort()

    def cut(self) -> None:
        """Close every connection."""
        for link in self._links:
            if link.task:
                link.task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link()
        if self._mode in {"black hole", "deaf"}:
            link.spoiled = {"replies", "commands"} if self._mode == "black hole" else {"replies"}
        link.task, link.writer = asyncio.current_task(), writer
        self._links.add(link)
        writers = [writer]
        try:
            up_reader, up_writer = await self._connect()
            writers.append(up_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, up_writer, link, "commands"))
                group.create_task(self._pump(up_reader, writer, link, "replies"))
        except* (OSError, asyncio.CancelledError, _EndedError):
            pass  # either side is gone
        finally:
            self._links.discard(link)
            for each in writers:
                each.close()
                with suppress(OSError):
                    await each.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.scheme == "unix":
            return await asyncio.open_unix_connection(self._target.path)
        return await asyncio.open_connection(self._target.hostname, self._target.port)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: "_Link", what: str
    ) -> None:  # fmt: skip
        while data := await reader.read(65536):
            await self._passes.wait()
            if what not in link.spoiled:
                writer.write(data)
                await writer.drain()
        raise _EndedError


class _Link:
    def __init__(self) -> None:
        self.spoiled: set[str] = set()
        self.task: asyncio.Task[None] | None = None
        self.writer: asyncio.StreamWriter | None = None


class _EndedError(Exception):
    pass
