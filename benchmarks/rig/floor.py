"""The floor of every stream: an ASGI app that sends the same bytes on the same server, with no Redis and no worker.

`python -m benchmarks.rig.floor` serves on BENCH_PORT. The metadata of a POST is that of the product under load, with
the additions of `Wanted`. Any other request gets an empty answer.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

import msgspec
import uvicorn

from benchmarks.rig.product import Load, deltas

Send = Callable[[dict[str, Any]], Awaitable[None]]
HEADERS = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]


class Wanted(Load, frozen=True):
    """The load, and how to send it.

    `pieces`: how many lines each write has, repeated as needed; empty: all lines in one write. `readers`: how many
    readers begin together. `raw`: an answer to send instead of a turn's.
    """

    pieces: list[int] = msgspec.field(default_factory=list)
    readers: int = 1
    raw: str = ""


class Floor:
    """The ASGI application."""

    def __init__(self) -> None:
        self._waiting = 0
        self._all_there = asyncio.Event()
        self._kept: dict[bytes, list[bytes]] = {}

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send
    ) -> None:
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        raw = await self._stream(body, send) if body else b""
        await send({"type": "http.response.body", "body": raw})

    async def _stream(self, body: bytes, send: Send) -> bytes:
        metadata = msgspec.json.decode(body)["metadata"]
        wanted = msgspec.convert(metadata, Wanted)
        if wanted.rate_per_s:
            async for line in lines(metadata):
                await send(_piece(line))
            return b""
        if wanted.raw:
            return wanted.raw.encode()
        if body not in self._kept:  # the same request gets the same bytes
            self._kept[body] = list(cut([line async for line in lines(metadata)], wanted.pieces))
        await self._together(wanted.readers)
        for piece in self._kept[body]:
            await send(_piece(piece))
            if wanted.readers > 1:
                await asyncio.sleep(0)  # let the next reader get the same piece before this one gets the next piece
        return b""

    async def _together(self, readers: int) -> None:
        if readers == 1:
            return
        self._waiting += 1
        all_there = self._all_there
        if self._waiting == readers:
            self._waiting, self._all_there = 0, asyncio.Event()
            all_there.set()
        await all_there.wait()


async def lines(metadata: dict[str, Any]) -> AsyncIterator[bytes]:
    """Yield the lines of a turn's stream: those of the product, with Turnwire's three events around them."""
    seq, text = 0, ""

    def line(kind: str, data: dict[str, Any]) -> bytes:
        nonlocal seq
        seq += 1
        return msgspec.json.encode({"id": f"1-{seq - 1}", "type": kind, "data": data}) + b"\n"

    yield line("session.run.started", {"attempt": 1})
    async for event in deltas(metadata):
        text += event["data"]["delta"]
        yield line(event["type"], event["data"])
    yield line("result", {"finalText": text})
    yield line("session.run.completed", {})


def cut(every_line: Sequence[bytes], pieces: Sequence[int]) -> Iterator[bytes]:
    """Yield the lines, joined into pieces as they are to be written."""
    at, counts = 0, cycle(pieces or [len(every_line)])
    while at < len(every_line):
        count = next(counts)
        yield b"".join(every_line[at : at + count])
        at += count


def _piece(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def main() -> None:
    """Serve with the same server and settings as Turnwire."""
    uvicorn.run(
        Floor(), port=int(os.environ["BENCH_PORT"]), loop="uvloop", http="httptools", ws="none", lifespan="off",
        access_log=False, log_level="warning", server_header=False, backlog=4096, timeout_keep_alive=75,
    )  # fmt: skip


if __name__ == "__main__":
    main()
