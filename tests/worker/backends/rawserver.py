"""A real TCP server that plays a script: it sends exactly these bytes, in these pieces, then hangs, closes or resets.

For the faults that a proper HTTP server cannot be made to produce.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import msgspec

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class Hang:
    """Send nothing more until the client hangs up."""


class Reset:
    """End the connection with a TCP reset."""


HANG, RESET = Hang(), Reset()
Step = bytes | Hang | Reset


class Request(NamedTuple):
    line: str
    headers: dict[str, str]
    body: bytes


class RawServer:
    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.open = 0  # connections
        self.hung_up = asyncio.Event()  # a client left while we were hanging
        self._answers: list[list[Step]] = []
        self._changed = asyncio.Condition()

    def play(self, *steps: Step) -> None:
        """Script the next connection; the last script stays in force for all later ones."""
        self._answers.append(list(steps))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await read_request(reader)
            async with self._changed:
                self.requests.append(request)
                self._changed.notify_all()
            answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
            for step in answer:
                await self._step(step, reader, writer)
        self.open -= 1
        writer.close()

    async def _step(self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(step, Hang):
            with contextlib.suppress(ConnectionError):
                await reader.read()
            self.hung_up.set()
        elif isinstance(step, Reset):
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        else:
            writer.write(step)
            await writer.drain()


async def read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(line, headers, body)


@contextlib.asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    raw = RawServer()
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    raw.url = f"http://127.0.0.1:{port}/v1"
    async with server:
        yield raw


def reply(status: int, body: bytes = b"", *fields: str) -> bytes:
    """A whole response with a length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def sse(*payloads: object) -> bytes:
    """Payloads as events: dicts as JSON, text as it is."""
    texts = [p if isinstance(p, str) else msgspec.json.encode(p).decode() for p in payloads]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def text(content: object, finish_reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}]}
