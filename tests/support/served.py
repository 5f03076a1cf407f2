"""A small application behind the API's own protocol, in the test's process, for requests that are sent byte by byte."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from socket import AF_INET, IPPROTO_TCP, SOCK_STREAM, socket
from typing import Any, Final, Self

import uvicorn

from tests.support.waiting import wait_until
from turnwire.api.edge.protocol import Protocol

LIMIT_S: Final = 10.0


class Served:
    """The address of the server, and what the application saw."""

    port: int

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.release = asyncio.Event()  # once it is set, /slow answers
        self.left: list[str] = []  # the paths of the clients that left before their answer

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with the request, its path last. /stream does not end, /slow waits, /unread does not read the body."""
        assert scope["type"] == "http"
        path, body, more = scope["path"], b"", scope["path"] != "/unread"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.append(path)
                return
            body, more = body + message["body"], message["more_body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append({"method": scope["method"], "headers": headers, "body": body.decode(), "path": path})
        if path == "/slow":
            await self.release.wait()
        answer = json.dumps(self.requests[-1]).encode()
        length = [] if path == "/stream" else [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": answer, "more_body": path == "/stream"})
        if path == "/stream":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left.append(path)

    async def open(self) -> "Raw":
        """Open a connection to the server."""
        return Raw(*await asyncio.open_connection("127.0.0.1", self.port, limit=2**24))

    async def answer(self, request: bytes) -> bytes:
        """Send these bytes. Return everything that comes until the server closes the connection."""
        async with await self.open() as raw:
            raw.send(request)
            return await raw.rest()


class Raw:
    """A client that sends bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answered(self, path: str) -> None:
        """Wait until the answer to the request of this path has come."""
        async with asyncio.timeout(LIMIT_S):
            await self.reader.readuntil(f'"path": "{path}"}}'.encode())

    async def rest(self) -> bytes:
        """Return everything that comes until the server closes the connection."""
        data = b""
        async with asyncio.timeout(LIMIT_S):
            try:
                while part := await self.reader.read(65_536):
                    data += part
            except ConnectionError:
                pass  # the server closed the connection without reading everything
        return data


@asynccontextmanager
async def listening(app: Any, protocol: type[Protocol] = Protocol, lifespan: str = "off") -> AsyncIterator[int]:
    """Run a server with this protocol in this process. Yields its port."""
    # With this protocol, asyncio sends each piece at once; otherwise each answer would take 40 ms.
    with closing(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP)) as bound:
        bound.bind(("127.0.0.1", 0))
        options: Any = {"interface": "asgi3", "lifespan": lifespan, "ws": "none", "timeout_graceful_shutdown": 1}
        server = uvicorn.Server(uvicorn.Config(app, http=protocol, log_config=None, **options))
        task = asyncio.create_task(server._serve([bound]))
        await wait_until(lambda: server.started, "the server")
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def served(protocol: type[Protocol] = Protocol) -> AsyncIterator[Served]:
    """Run the small application behind this protocol."""
    serving = Served()
    async with listening(serving.app, protocol) as serving.port:
        try:
            yield serving
        finally:
            serving.release.set()
