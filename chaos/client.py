"""A client as it should be written: asks a turn, reads its stream, resumes at its cursor wherever it was cut off."""

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
SILENCE_S = 30.0  # after so long without a line it connects again


@dataclass
class Answer:
    """What one client got for one turn: every line of every connection, in order."""

    session: str
    index: int
    metadata: dict[str, Any]
    on_busy: str = "enqueue"
    deployment: str = ""  # the name that each text of its deployment begins with
    accepted: bool = False  # and must not be asked again, because that would run a turn anew that has failed
    asked_s: float = math.inf  # when its client began to read it, monotonic
    expired: bool = False  # it may have been gone before its client could read its end
    lines: list[Line] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)  # when each line arrived, monotonic
    connections: int = 0  # that delivered something
    refusals: list[str] = field(default_factory=list)  # `503 store_unavailable`, or the name of a transport error

    @property
    def run_id(self) -> str:
        """The turn's name."""
        return f"chat:{self.session}:{self.index}"

    @property
    def path(self) -> str:
        """Where its record is."""
        return f"/v1/sessions/{self.session}/turns/{self.index}"

    @property
    def ended(self) -> bool:
        """It has seen the terminal event."""
        return bool(self.lines) and self.lines[-1]["type"] in TERMINAL_TYPES

    @property
    def replayed(self) -> bool:
        """It came when the turn had ended: a replay's lines stand in no log and have no ids."""
        return bool(self.lines) and "id" not in self.lines[-1]

    @property
    def types(self) -> list[str]:
        """The type of each line."""
        return [line["type"] for line in self.lines]

    def is_older_than(self, seconds: float) -> bool:
        """Its client began to read it longer ago than that."""
        return time.monotonic() - self.asked_s > seconds

    def deltas(self) -> int:
        """How many text deltas arrived."""
        return self.types.count("message.part.updated")


class Client:
    """An async context manager. Takes the base URLs in turn, the next one whenever a request fails."""

    def __init__(self, base_urls: Sequence[str], *, fails_over: bool = False) -> None:
        """`fails_over`: Redis may lose what a client has read; then it begins anew, as it must."""
        self.base_urls = list(base_urls)
        self._fails_over = fails_over
        self._turn = itertools.cycle(range(len(self.base_urls)))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        timeout = httpx.Timeout(SILENCE_S, connect=5.0)
        self.http = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    def base_url(self) -> str:
        """The next one."""
        return self.base_urls[next(self._turn)]

    async def submit(self, answer: Answer) -> httpx.Response:
        """Ask the turn without waiting for it: once, whatever comes of it."""
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
        """Ask the turn, and read until its terminal event; without `retry` on one connection only."""
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
                if self._fails_over and answer.refusals[-1] == "410 cursor_gone":
                    answer.lines.clear()
                    answer.at_s.clear()
            if not retry:
                return answer
            if not answer.ended:
                await asyncio.sleep(RETRY_S)
        return answer

    async def read(self, answer: Answer, after: str | None = None) -> list[Line]:
        """A fresh reader's view of the turn, from its first event or after a cursor to its end."""
        params = {"after": after} if after else {}
        response = await self.http.get(f"{self.base_url()}{answer.path}/events", params=params)
        response.raise_for_status()
        return [json.loads(line) for line in response.content.splitlines()]

    async def record(self, answer: Answer) -> dict[str, Any]:
        """The turn's record."""
        response = await self.http.get(self.base_url() + answer.path)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found

    async def _lines(self, answer: Answer) -> AsyncGenerator[Line]:
        url = self.base_url() + answer.path
        if answer.replayed:
            answer.lines.clear()  # cut off within a replay: ask again
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
    """`503 store_unavailable`, with the Retry-After if there is one."""
    code = response.json().get("code") if "json" in response.headers.get("content-type", "") else "?"
    after = response.headers.get("retry-after")
    return f"{response.status_code} {code}" + (f" retry-after {after}" if after else "")


def _body(answer: Answer) -> dict[str, Any]:
    body = {"message": "hello", "metadata": answer.metadata, "on_busy": answer.on_busy}
    return body | {"project": answer.metadata.get("project")}
