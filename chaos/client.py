"""A client as it should be written: it asks a turn, reads its stream, and resumes at its cursor when it is cut off."""

import asyncio
import itertools
import json
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

Line = dict[str, Any]

TERMINAL_TYPES = {"session.run.completed", "session.run.failed"}
RETRY_S = 0.1
SILENCE_S = 30.0  # after this time without a line, it connects again


@dataclass
class Answer:
    """What one client has received for one turn: every line of every connection, in order."""

    session: str
    index: int
    metadata: dict[str, Any]
    on_busy: str = "enqueue"
    user: str | None = None
    deployment: str = ""  # the name with which each text of its deployment begins
    accepted: bool = False  # an accepted turn is not asked again, because if it has failed, that would run it anew
    asked_s: float = math.inf  # when its client began to read, by the monotonic clock
    expired: bool = False  # the turn may have been deleted before its client could read its end
    lines: list[Line] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)  # when each line arrived, by the monotonic clock
    connections: int = 0  # how many connections delivered something
    refusals: list[str] = field(default_factory=list)  # `503 store_unavailable`, or the name of a transport error

    @property
    def run_id(self) -> str:
        """The run id of the turn."""
        return f"chat:{self.session}:{self.index}"

    @property
    def path(self) -> str:
        """The path of the turn's record."""
        return f"/v1/sessions/{self.session}/turns/{self.index}"

    @property
    def ended(self) -> bool:
        """Whether the client has seen the terminal event."""
        return bool(self.lines) and self.lines[-1]["type"] in TERMINAL_TYPES

    @property
    def replayed(self) -> bool:
        """Whether the client got a replay of an ended turn. The lines of a replay are in no log and have no ids."""
        return bool(self.lines) and "id" not in self.lines[-1]

    @property
    def types(self) -> list[str]:
        """The type of each line."""
        return [line["type"] for line in self.lines]

    def is_older_than(self, seconds: float) -> bool:
        """Whether the client began to read longer ago than that."""
        return time.monotonic() - self.asked_s > seconds

    def deltas(self) -> int:
        """How many text deltas arrived."""
        return self.types.count("message.part.updated")


class Client:
    """An async context manager. It begins with the first base URL and takes the next one whenever a request fails."""

    def __init__(self, base_urls: Sequence[str], *, fails_over: bool = False) -> None:
        """`fails_over`: Redis may lose events that a client has read already; the client must then begin anew."""
        self.base_urls = list(base_urls)
        self.fails_over = fails_over
        self._turn = itertools.cycle(range(len(self.base_urls)))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        timeout = httpx.Timeout(SILENCE_S, connect=5.0)
        self.http = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    def base_url(self) -> str:
        """The URL of the API that gets the next request."""
        return self.base_urls[next(self._turn)]

    async def submit(self, answer: Answer) -> httpx.Response:
        """Ask the turn once, without waiting for its end. A failure is not retried."""
        return await self.http.post(
            self.base_url() + answer.path, json=_body(answer), headers={"Prefer": "respond-async"}
        )

    async def submit_next(self, session: str, metadata: dict[str, Any], idempotency_key: str) -> httpx.Response:
        """Ask a turn at the session's next index, without waiting for it."""
        return await self.http.post(
            f"{self.base_url()}/v1/sessions/{session}/turns",
            json=_body(Answer(session, 0, metadata)),
            headers={"Prefer": "respond-async", "Idempotency-Key": idempotency_key},
        )

    async def cancel(self, answer: Answer, reason: str) -> httpx.Response:
        """Cancel the turn."""
        return await self.http.post(f"{self.base_url()}{answer.path}/cancel", json={"reason": reason})

    async def signal(self, answer: Answer, key: str, payload: Any) -> httpx.Response:
        """Give the turn the signal that it waits for, or will wait for."""
        return await self.http.post(f"{self.base_url()}{answer.path}/signals/{key}", json={"payload": payload})

    async def ask(self, answer: Answer, *, retry: bool = True) -> Answer:
        """Ask the turn, and read until its terminal event. Without `retry`, only one connection is used."""
        while not answer.ended:
            try:
                async with aclosing(self._lines(answer)) as lines:
                    answer.connections += 1
                    async for line in lines:
                        answer.lines.append(line)
                        answer.at_s.append(time.monotonic())
            except (httpx.TransportError, _RefusedError) as error:
                answer.refusals.append(str(error) if isinstance(error, _RefusedError) else type(error).__name__)
                answer.connections -= isinstance(error, _RefusedError | httpx.ConnectError)
                if self.fails_over and answer.refusals[-1] == "410 cursor_gone":
                    answer.lines.clear()
                    answer.at_s.clear()
            if not retry:
                return answer
            if not answer.ended:
                await asyncio.sleep(RETRY_S)
        return answer

    async def read(self, answer: Answer, after: str | None = None) -> list[Line]:
        """Return what a fresh reader gets: the events from the first one, or from those after a cursor, to the end."""
        params = {"after": after} if after else {}
        response = await self.http.get(f"{self.base_url()}{answer.path}/events", params=params)
        response.raise_for_status()
        return [json.loads(line) for line in response.content.splitlines()]

    async def record(self, answer: Answer) -> dict[str, Any]:
        """Return the turn's record."""
        response = await self.http.get(self.base_url() + answer.path)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found

    async def _lines(self, answer: Answer) -> AsyncGenerator[Line]:
        url = self.base_url() + answer.path
        if answer.replayed:
            answer.lines.clear()  # the connection broke within a replay: ask again
        if answer.lines or answer.accepted:
            after = {"after": answer.lines[-1]["id"]} if answer.lines else {}
            request = self.http.stream("GET", f"{url}/events", params=after)
        else:
            request = self.http.stream("POST", url, json=_body(answer))
        async with request as response:
            if response.status_code != httpx.codes.OK:
                await response.aread()
                raise _RefusedError(refusal(response))
            rest = b""
            async for chunk in response.aiter_raw():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield json.loads(line)


class _RefusedError(Exception):
    """The server answered, but not with a stream."""


def refusal(response: httpx.Response) -> str:
    """Return a refusal as text, such as `503 store_unavailable`, with the Retry-After if there is one."""
    code = response.json().get("code") if "json" in response.headers.get("content-type", "") else "?"
    after = response.headers.get("retry-after")
    return f"{response.status_code} {code}" + (f" retry-after {after}" if after else "")


def _body(answer: Answer) -> dict[str, Any]:
    body = {"message": "hello", "metadata": answer.metadata, "on_busy": answer.on_busy}
    return body | {"project": answer.metadata.get("project"), "user": answer.user}
