"""A load client that costs little: it uses plain TCP, keeps each piece with its time, and parses after the end.

Only `Answer.events()` gives the times, and it checks the events first, so no benchmark can succeed on wrong output.
"""

import asyncio
import json
import random
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from time import monotonic, monotonic_ns
from typing import Any
from urllib.parse import urlsplit

import msgspec

LAST_CHUNK = b"0\r\n\r\n"
TURNWIRE_EVENTS = 3  # the events that Turnwire adds to those of a producer: started, result, completed
TERMINAL_TYPES = {"session.run.completed", "session.run.failed"}


class WrongAnswerError(Exception):
    """The service gave a wrong answer."""


class Event(msgspec.Struct):
    """One line of a stream. `at_ns`: when its last byte arrived, by the monotonic clock."""

    id: str
    type: str
    data: dict[str, Any]
    at_ns: int = 0

    @property
    def seq(self) -> int:
        return int(self.id.partition("-")[2])


class Answer(asyncio.Protocol):
    """One request on a connection of its own, and everything that came back."""

    def __init__(self, request: bytes) -> None:
        self.sent_ns = 0
        self.parts: list[tuple[int, bytes]] = []
        self.ended = asyncio.get_running_loop().create_future()
        self._request = request
        self._last = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.sent_ns = monotonic_ns()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.parts.append((monotonic_ns(), data))
        self._last = data[-5:] if len(data) >= 5 else (self._last + data)[-5:]
        if self._last == LAST_CHUNK:  # a JSON line holds no CR, so nothing else looks like this
            self.close()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def seen(self, needle: bytes) -> int:
        """Return how often these bytes have come so far. They must not be split between two pieces."""
        return sum(data.count(needle) for _, data in self.parts)

    def lines(self) -> list[Event]:
        """Return all lines in order. Only HTTP and JSON are checked."""
        raw = b"".join(data for _, data in self.parts)
        head, _, _ = raw.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 ") or b"transfer-encoding: chunked" not in head.lower():
            raise WrongAnswerError(raw[:500].decode(errors="replace"))
        ends = list(accumulate(len(data) for _, data in self.parts))
        events, rest, at = [], b"", len(head) + 4
        while (size_end := raw.find(b"\r\n", at)) > 0 and (size := int(raw[at:size_end], 16)):
            at = size_end + 2 + size
            *whole, rest = (rest + raw[size_end + 2 : at]).split(b"\n")
            arrived_ns = self.parts[bisect_left(ends, min(at, len(raw)))][0]
            for line in whole:
                event = _event.decode(line)
                event.at_ns = arrived_ns
                events.append(event)
            at += 2
        return events

    def events(self, count: int | None = None, *, resumed: bool = False) -> list[Event]:
        """Return the events, checked: the first is `started`, seqs have no gap, one is terminal, there are `count`.

        `resumed`: the turn may have been taken over; the events that a resumed line takes back are left out.
        """
        standing: list[Event] = []
        for event in self.lines():
            if event.type == "session.run.resumed":
                if not resumed:
                    raise WrongAnswerError("the turn was taken over")
                after = Event(event.data["after"], "", {}).seq
                standing = [one for one in standing if one.seq <= after]
            standing.append(event)
        types = [event.type for event in standing]
        if types[:1] != ["session.run.started"] or types[-1:] != ["session.run.completed"]:
            raise WrongAnswerError(f"starts or ends wrong: {types[:2]} … {types[-2:]}")
        if sum(kind in TERMINAL_TYPES for kind in types) != 1:
            raise WrongAnswerError("more than one terminal event")
        if [event.seq for event in standing] != list(range(len(standing))):
            raise WrongAnswerError(f"seq has gaps or duplicates: {[event.seq for event in standing][:20]}")
        if count is not None and len(standing) != count:
            raise WrongAnswerError(f"{len(standing)} events, {count} were expected")
        return standing


_event = msgspec.json.Decoder(Event)


class TailClient:
    """Sends requests to one service. `timeout_s` is the limit for a whole turn."""

    def __init__(self, base_url: str, *, timeout_s: float = 60.0) -> None:
        parts = urlsplit(base_url)
        assert parts.hostname == "127.0.0.1", "benchmarks stay on this machine"
        self._address = (parts.hostname, parts.port or 80)
        self._timeout_s = timeout_s

    async def start(self, session: str, metadata: dict[str, Any], *, message: str = "go") -> Answer:
        """POST turn 0 of a session, and return without waiting for the answer."""
        return await self.submit(session, {"message": message, "metadata": metadata})

    async def submit(self, session: str, body: dict[str, Any]) -> Answer:
        """POST turn 0 of a session with this body, and return without waiting for the answer."""
        return await self._send("POST", f"/v1/sessions/{session}/turns/0", json.dumps(body).encode())

    async def follow(self, session: str, after: str = "") -> Answer:
        """GET the events of turn 0 after a cursor, and return without waiting for the answer."""
        return await self._send("GET", f"/v1/sessions/{session}/turns/0/events" + (f"?after={after}" * bool(after)))

    async def signal(self, session: str, key: str) -> Answer:
        """POST a signal to turn 0, and return without waiting for the answer."""
        return await self._send("POST", f"/v1/sessions/{session}/turns/0/signals/{key}", b'{"payload": "yes"}')

    async def _send(self, method: str, path: str, body: bytes = b"") -> Answer:
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\n"
        head += f"connection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        loop = asyncio.get_running_loop()
        _, answer = await loop.create_connection(lambda: Answer(head.encode() + body), *self._address)
        return answer

    async def finish(self, answer: Answer) -> Answer:
        """Wait for the end of an answer, and return it."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await answer.ended
        except TimeoutError:
            raise WrongAnswerError(f"no end after {self._timeout_s:g} s: {answer.parts[-1:]!r:.300}") from None
        finally:
            answer.close()
        return answer

    async def ask(self, session: str, metadata: dict[str, Any]) -> Answer:
        """Ask a turn, and wait for its end."""
        return await self.finish(await self.start(session, metadata))


async def closed_loop(ask: Callable[[str], Awaitable[Answer]], names: Sequence[str], at_once: int) -> list[Answer]:
    """Ask for every name, `at_once` at a time: when one has ended, the next one starts."""
    left, answers = iter(names), []

    async def one_after_the_other() -> None:
        for name in left:
            answers.append(await ask(name))  # noqa: PERF401 - the iterator is shared

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_the_other())
    return answers


async def open_loop(ask: Callable[[str], Awaitable[Answer]], names: Sequence[str], rate_per_s: float) -> list[Answer]:
    """Ask for every name at Poisson arrivals, whether the earlier ones have ended or not."""
    dice, at_s = random.Random(7), monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = []
        for name in names:
            at_s += dice.expovariate(rate_per_s)
            await asyncio.sleep(max(0.0, at_s - monotonic()))
            tasks.append(group.create_task(_awaited(ask(name))))
    return [task.result() for task in tasks]


async def _awaited(answer: Awaitable[Answer]) -> Answer:
    return await answer
