"""Measures completed turns: the same POST again and again on kept connections, and a long log read from its start."""

import asyncio
import json
import statistics
import time
from typing import Any

import uvloop

from benchmarks.rig.measure import medians, percentile
from benchmarks.rig.report import Report
from benchmarks.rig.scene import Scene, Sizes, pieces, scene, share
from benchmarks.rig.tail_client import TURNWIRE_EVENTS, Answer, TailClient, WrongAnswerError

LIMIT_S = 120.0
SHORT = {"events": 3}
LOG_READS = 5


class Repeater(asyncio.Protocol):
    """Sends a request again as soon as its answer is there. Each answer must equal the first one, byte for byte."""

    def __init__(self, request: bytes, times: int, body: bytes) -> None:
        self.took_ms: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._left = times
        self._body = body
        self._got = b""
        self._sent_ns = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._got, self._sent_ns = b"", time.monotonic_ns()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        body = body_of(self._got)
        if len(body) < len(self._body):
            return
        self.took_ms.append((time.monotonic_ns() - self._sent_ns) / 1e6)
        if body != self._body:
            self._transport.close()
            self.ended.set_exception(WrongAnswerError(f"an answer differs from the first one: {self._got[:500]!r}"))
            return
        self._left -= 1
        if self._left:
            self._send()
        else:
            self._transport.close()
            self.ended.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(WrongAnswerError("the service closed a connection that it should have kept"))


class ReplayClient(TailClient):
    """Repeats requests."""

    async def repeat(self, session: str, body: bytes, sizes: Sizes, answer: bytes) -> dict[str, float]:
        """Send all requests over `sizes.connections` connections at once. Returns requests per second and p99 in ms."""
        loop = asyncio.get_running_loop()
        head = f"POST /v1/sessions/{session}/turns/0 HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        times = sizes.replays // sizes.connections
        request, began = head.encode() + body, time.monotonic()
        made = [
            await loop.create_connection(lambda: Repeater(request, times, answer), *self._address)
            for _ in range(sizes.connections)
        ]
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(one.ended for _, one in made))
        took_ms = [ms for _, one in made for ms in one.took_ms]
        return {"requests/s": len(took_ms) / (time.monotonic() - began), "p99": percentile(took_ms, 99)}


def body_of(raw: bytes) -> bytes:
    """Return the body of an answer. The head is left out, because it holds the time of day."""
    return raw.partition(b"\r\n\r\n")[2]


def text_of(raw: bytes) -> str:
    """Return the text of an answer that came in one chunk, or without chunks."""
    head, _, body = raw.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return body.decode()
    size, _, text = body.partition(b"\r\n")
    return text[: int(size, 16)].decode()


def whole(answer: Answer) -> bytes:
    """Return all bytes of an answer."""
    return b"".join(data for _, data in answer.parts)


async def posts(url: str, sizes: Sizes, name: str, raw: str = "") -> tuple[dict[str, float], str]:
    """Repeat the POST of a completed turn. `raw`: what the floor is to answer.

    Returns: the figures, and the text of the answer, which the floor is to send next.
    """
    client, load = ReplayClient(url, timeout_s=LIMIT_S), SHORT | ({"raw": raw} if raw else {})
    if not raw:
        (await client.ask(name, load)).events(SHORT["events"] + TURNWIRE_EVENTS)
    answer = whole(await client.ask(name, load))
    text = text_of(answer)
    if [json.loads(line)["type"] for line in text.splitlines()] != [
        "session.run.started",
        "result",
        "session.run.completed",
    ]:
        raise WrongAnswerError(text)
    body = json.dumps({"message": "go", "metadata": load}).encode()
    return await client.repeat(name, body, sizes, body_of(answer)), text


async def log(url: str, sizes: Sizes, name: str, cuts: list[int] | None = None) -> tuple[float, list[int]]:
    """Measure the MB/s of a long log. `cuts`: the lines in each piece that the floor is to send.

    Returns: the median rate, and how many lines each piece had.
    """
    client = TailClient(url, timeout_s=LIMIT_S)
    load = {"events": sizes.log_events} | ({"pieces": cuts} if cuts else {})
    (await client.ask(name, load)).events(sizes.log_events + TURNWIRE_EVENTS)
    rates = []
    for _ in range(LOG_READS):
        answer = await client.finish(await (client.start(name, load) if cuts else client.follow(name)))
        rates.append(len(whole(answer)) * 1e3 / (answer.parts[-1][0] - answer.sent_ns))
        answer.events(sizes.log_events + TURNWIRE_EVENTS)
    return statistics.median(rates), pieces(answer)


async def once(at: Scene, sizes: Sizes, mark: str) -> tuple[dict[str, float], dict[str, float]]:
    """Measure one round of Turnwire and of the floor."""
    url = at.stack.base_urls[0]
    ours, text = await posts(url, sizes, f"{mark}short")
    least, _ = await posts(at.floor_url, sizes, f"{mark}short", text)
    ours["MB/s"], cuts = await log(url, sizes, f"{mark}log")
    least["MB/s"], _ = await log(at.floor_url, sizes, f"{mark}log", cuts)
    return ours, least


def run(sizes: Sizes, report: Report) -> None:
    """Measure all rounds of Turnwire and of the floor in turn, and add the rows to the report."""
    with scene() as at:
        rounds = [uvloop.run(once(at, sizes, f"r{number}")) for number in range(sizes.rounds)]
    one, other = map(medians, zip(*rounds, strict=True))
    post = f"POST of a completed turn, {sizes.connections} connections"
    read = f"GET of a log of {sizes.log_events:,} events"
    for name, title, more in (
        ("requests/s", f"{post}: requests/s", True), ("p99", f"{post}: p99 ms", False), ("MB/s", f"{read}: MB/s", True)
    ):  # fmt: skip
        report.row(title, "", one[name], other[name], share(one[name], other[name], higher_is_better=more))
    report.note("Every repeated answer equalled the first one, byte for byte.")
