"""Clients that ask sessions of several turns, and how all of them are reconciled when the breaking is over."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis

from chaos import verify
from chaos.client import RETRY_S, Answer, Client, refusal

Shape = Callable[[random.Random], dict[str, Any]]


class Load:
    """Asks turns and keeps every answer."""

    def __init__(self, client: Client, chance: random.Random, shape: Shape) -> None:
        self.answers: list[Answer] = []
        self._client = client
        self._chance = chance
        self._shape = shape
        self._sessions: list[asyncio.Task[None]] = []

    def start_session(self, turns: int) -> None:
        """A client that asks a session's turns as soon as the one before is accepted, and reads all of them."""
        name = f"storm-{uuid.uuid4().hex[:12]}"
        answers = [Answer(name, index, self._shape(self._chance)) for index in range(turns)]
        self.answers += answers
        self._sessions.append(asyncio.create_task(self._ask(answers)))

    @property
    def open(self) -> int:
        """How many turns have not ended for their clients."""
        return sum(not answer.ended for answer in self.answers)

    async def over(self, limit_s: float) -> list[str]:
        """Wait until every client has its answer; what went wrong with them."""
        _, late = await asyncio.wait(self._sessions, timeout=limit_s) if self._sessions else (set(), set())
        for task in late:
            task.cancel()
        results = await asyncio.gather(*self._sessions, return_exceptions=True)
        stuck = [answer for answer in self.answers if not answer.ended]
        found = [f"{answer.run_id}: no end within {limit_s:g} s; got {answer.types[-3:]}" for answer in stuck]
        return found + [f"a client failed: {error!r}" for error in results if isinstance(error, Exception)]

    async def _ask(self, answers: list[Answer]) -> None:
        async with asyncio.TaskGroup() as group:
            for answer in answers:
                await self._accepted(answer)
                group.create_task(self._client.ask(answer))

    async def _accepted(self, answer: Answer) -> None:
        while True:
            try:
                response = await self._client.submit(answer)
                if response.is_success:
                    return
                answer.refusals.append(refusal(response))
            except httpx.TransportError as error:
                answer.refusals.append(type(error).__name__)
            await asyncio.sleep(RETRY_S)


async def reconcile(client: Client, redis: Redis, answers: list[Answer], ledger: Path) -> AsyncIterator[str]:
    """Every violation: of each turn, of the order in the sessions, of what is left in Redis."""
    calls = verify.read_ledger(ledger)
    records = []
    for answer in answers:
        for text in await verify.check_turn(client, redis, answer, calls[answer.run_id]):
            yield text
        records.append(await client.record(answer))
    for text in verify.check_order(records):
        yield text
    for text in await verify.leftovers(redis, limit_s=10):
        yield text


def summary(answers: list[Answer], ledger: Path) -> dict[str, Any]:
    """What happened, in numbers."""
    calls = verify.read_ledger(ledger)
    attempts = Counter(
        max((call["attempt"] for call in calls[answer.run_id]), default=0) for answer in answers
    )  # fmt: skip
    return {
        "turns": len(answers),
        "lines read": sum(len(answer.lines) for answer in answers),
        "producer calls": sum(call["call"] == "produce" for listed in calls.values() for call in listed),
        "turns by attempts": dict(sorted(attempts.items())),
        "turns by connections": dict(sorted(Counter(answer.connections for answer in answers).items())),
        "refusals seen by clients": dict(Counter(word for answer in answers for word in answer.refusals)),
    }
