"""Clients that ask the turns of sessions, cancel some turns, and send others the signal for which they wait."""

import asyncio
import math
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from chaos import verify
from chaos.client import RETRY_S, Answer, Client, refusal
from chaos.faults import COMPLETED, allowed_ends

Shape = Callable[[random.Random], dict[str, Any]]

CANCEL_REASON = "the client had enough"
LOOK_S = 0.02


class Load:
    """Asks turns and keeps every answer. `deployment`: the name with which the texts of the product begin.

    `ended` is called with each answer that a client has read to its end. `kept_s` is how long turns are kept. While
    things are broken, a client may come too late to read the end of a turn; `expired` counts such turns.
    """

    ended: Callable[[Answer], Awaitable[None]] | None = None
    kept_s: float = math.inf
    expired = 0

    def __init__(self, client: Client, chance: random.Random, shape: Shape, deployment: str = "") -> None:
        self.answers: list[Answer] = []
        self._reading: list[Answer] = []
        self.findings: list[str] = []
        self._client = client
        self._chance = chance
        self._shape = shape
        self._deployment = deployment
        self._sessions: list[asyncio.Task[None]] = []

    def start_session(self, turns: int, name: str | None = None) -> str:
        """Start a client that asks a session's turns, each once the one before is accepted, and reads all of them."""
        name = name or f"storm-{uuid.uuid4().hex[:12]}"
        answers = [self.answer(name, index) for index in range(turns)]
        self._sessions.append(asyncio.create_task(self._ask(answers)))
        return name

    def answer(self, session: str, index: int) -> Answer:
        """Return an empty answer for a turn, whose metadata are chosen at random."""
        answer = Answer(session, index, self._shape(self._chance), deployment=self._deployment)
        self.answers.append(answer)
        self._reading.append(answer)
        return answer

    @property
    def open(self) -> int:
        """How many turns have not ended yet, as their clients see it."""
        self._reading = [answer for answer in self._reading if not answer.ended and not answer.expired]
        return len(self._reading)

    async def over(self, limit_s: float) -> list[str]:
        """Wait until every client has its answer. Returns what went wrong."""
        _, late = await asyncio.wait(self._sessions, timeout=limit_s) if self._sessions else (set(), set())
        for task in late:
            task.cancel()
        results = await asyncio.gather(*self._sessions, return_exceptions=True)
        stuck = [answer for answer in self.answers if not answer.ended and not answer.expired]
        found = [f"{answer.run_id}: no end within {limit_s:g} s; got {answer.types[-3:]}" for answer in stuck]
        found += [f"a client failed: {error!r}" for error in results if isinstance(error, Exception)]
        return found + self.findings

    async def read(self, answer: Answer) -> None:
        """Read an accepted turn to its end. Meanwhile cancel or signal it, if its metadata say so."""
        answer.accepted = allowed_ends(answer.metadata) != {COMPLETED}
        answer.asked_s = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask_while_kept(answer))
                if "cancel_at" in answer.metadata:
                    group.create_task(self._cancel(answer))
                if "signal" in answer.metadata:
                    group.create_task(self._signal(answer))
        except* _ExpiredError:
            self.expired += 1
            answer.expired = True
        if self.ended and not answer.expired:
            await self.ended(answer)

    async def _ask_while_kept(self, answer: Answer) -> None:
        while True:
            await self._client.ask(answer, retry=False)
            if answer.ended:
                return
            if answer.refusals[-1:] == ["404 not_found"] and answer.is_older_than(self.kept_s / 2):
                raise _ExpiredError
            await asyncio.sleep(RETRY_S)

    async def _ask(self, answers: list[Answer]) -> None:
        async with asyncio.TaskGroup() as group:
            for answer in answers:
                await self.until_answered(answer, partial(self._client.submit, answer))
                group.create_task(self.read(answer))

    async def until_answered(self, answer: Answer, request: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """Send the request again until an API accepts it or refuses it for good."""
        while True:
            try:
                response = await request()
                if response.is_success:
                    return response
                answer.refusals.append(refusal(response))
                if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    if answer.is_older_than(self.kept_s / 2):
                        raise _ExpiredError
                    self.findings.append(f"{answer.run_id}: {response.request.url.path}: {refusal(response)}")
                    return response
            except httpx.TransportError as error:
                answer.refusals.append(type(error).__name__)
            await asyncio.sleep(RETRY_S)

    async def _cancel(self, answer: Answer) -> None:
        await _until(lambda: answer.ended or len(answer.lines) >= answer.metadata["cancel_at"])
        await self.until_answered(answer, lambda: self._client.cancel(answer, CANCEL_REASON))

    async def _signal(self, answer: Answer) -> None:
        if self._chance.random() < 0.5:  # otherwise the signal comes before the turn asks for it
            await _until(lambda: answer.ended or "session.run.suspended" in answer.types)
        if answer.ended:
            return
        key, payload = answer.metadata["signal"], answer.metadata["payload"]
        await self.until_answered(answer, lambda: self._client.signal(answer, key, payload))


class _ExpiredError(Exception):
    """The turn may have expired before its client could see that it had ended."""


async def _until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 - the answer's lines come from another task
        await asyncio.sleep(LOOK_S)


def summary(answers: list[Answer], ledger: Path) -> dict[str, Any]:
    """Return what happened, in numbers."""
    calls = verify.read_ledger(ledger)
    attempts = Counter(
        max((call["attempt"] for call in calls[answer.run_id]), default=0) for answer in answers
    )  # fmt: skip
    faults = Counter(answer.metadata["fault"] for answer in answers if "fault" in answer.metadata)
    return {
        "turns": len(answers),
        "turns with a fault": dict(sorted(faults.items())),
        "lines read": sum(len(answer.lines) for answer in answers),
        "producer calls": sum(call["call"] == "produce" for listed in calls.values() for call in listed),
        "turns by attempts": dict(sorted(attempts.items())),
        "turns by connections": dict(sorted(Counter(answer.connections for answer in answers).items())),
        "refusals seen by clients": dict(Counter(word for answer in answers for word in answer.refusals)),
    }
