"""Failovers by real Sentinels while turns stream, and what became of the turns. A test and a benchmark use it."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from redis.asyncio import Redis

from chaos import verify
from chaos.client import Answer
from chaos.leftovers import leftovers
from stack.redis_server import RedisServer, server_version
from stack.sentinels import SentinelGroup
from tests.support.scene import Scene, scene
from tests.support.waiting import wait_until
from turnwire.shared.store.connect import connect

KINDS: Final = ("ordered", "planned", "killed")
STREAMED: Final = 10  # how many deltas each turn has streamed before the failover
STREAM_MS: Final = 8000  # for how long a turn streams, which is longer than a failover takes
HELD: Final = 5  # how many deltas of each turn come only after the failover, so that no turn ends before it
LIMIT_S: Final = 90.0
QUEUE_URL: Final = "TURNWIRE_QUEUE_REDIS_URL"
FIRST_WITH_COORDINATED: Final = "Valkey 9"


@dataclass
class Outcome:
    """What one failover did to the turns that streamed."""

    orders: int  # how often the failover was ordered
    flaws: list[str] = field(default_factory=list)  # a sentence for each gap, mixed answer or other violation
    produced_again: int = 0  # turns whose model was called more than once
    reconnected: int = 0  # clients that did not keep their connection
    silence_s: list[float] = field(default_factory=list)  # of each turn: its longest pause between two deltas

    def count(self, *words: str) -> int:
        """Return how many flaws have one of these words."""
        return sum(any(word in flaw for word in words) for flaw in self.flaws)


def is_possible(kind: str) -> bool:
    """Return whether the server can do this kind of failover. Older servers know no planned one."""
    return kind != "planned" or server_version() >= FIRST_WITH_COORDINATED


class Failovers:
    """Three Sentinels, one API and two workers, which `failovers` starts."""

    def __init__(self, group: SentinelGroup, view: Scene, turns: int, queue: Redis | None) -> None:
        self._group = group
        self._view = view
        self._turns = turns
        self._queue = queue
        self._processes = self._pids()

    def _pids(self) -> dict[str, int]:
        return {service.name: service.pid for service in self._view.stack.services if service.running}

    async def once(self, kind: str) -> Outcome:
        """Let turns stream, fail over, and check each turn when it has ended."""
        view, gate = self._view, self._view.gate()
        pace_ms = max(20, self._turns // 2)
        held_from = STREAM_MS // pace_ms - HELD
        shape: dict[str, Any] = {"events": held_from + HELD, "pace_ms": pace_ms, "gate": {str(held_from): str(gate)}}
        turns = [view.turn(**shape, stream=number % 2 == 0) for number in range(self._turns)]
        readers = [view.ask(answer, retry=True) for answer in turns]
        await wait_until(lambda: all(answer.deltas() >= STREAMED for answer in turns), "turns that stream", LIMIT_S)
        outcome = Outcome(await self._fail_over(kind))
        gate.touch()
        _, late = await asyncio.wait(readers, timeout=LIMIT_S)
        await self._check(outcome, turns)
        if late:
            outcome.flaws.insert(0, f"{len(late)} clients had not read the end of their turns after {LIMIT_S:g} s")
        outcome.silence_s = [longest_pause_s(answer, held_from) for answer in turns]
        await asyncio.to_thread(self._group.wait_whole)
        return outcome

    async def _fail_over(self, kind: str) -> int:
        if kind != "killed":
            return await asyncio.to_thread(self._group.fail_over, coordinated=kind == "planned")
        primary = await asyncio.to_thread(lambda: self._group.primary)
        primary.kill()
        await asyncio.to_thread(self._group.wait_switched, primary)
        primary.start()  # it starts as a primary, until the Sentinels make it a replica
        return 0

    async def _check(self, outcome: Outcome, turns: list[Answer]) -> None:
        view = self._view
        outcome.flaws = await leftovers(view.redis, LIMIT_S, self._queue)
        calls = verify.read_ledger(view.ledger)
        for answer in turns:
            if not answer.ended:
                outcome.flaws.append(
                    f"{answer.run_id}: {await view.status(answer)}, {len(answer.lines)} lines were read"
                )
                continue
            outcome.flaws += await verify.check_turn(view.client, view.redis, answer, calls[answer.run_id])
            outcome.produced_again += [call["call"] for call in calls[answer.run_id]].count("produce") > 1
            outcome.reconnected += answer.connections > 1
        if self._pids() != self._processes:
            outcome.flaws.append("a process has ended")


def longest_pause_s(answer: Answer, deltas: int) -> float:
    """Return the longest time between two of the first `deltas` deltas."""
    at_s = answer.at_s[1 : 1 + deltas]
    return max(after - before for before, after in itertools.pairwise(at_s))


@asynccontextmanager
async def failovers(directory: Path, turns: int, *, queue_database: int | None = None) -> AsyncIterator[Failovers]:
    """Start everything for failovers while `turns` turns stream. `queue_database`: the database that has the queue."""
    # The lease is longer than any failover here.
    env = {"TURNWIRE_LEASE_MS": "20000", "TURNWIRE_REDIS_TIMEOUT_S": "1", "TURNWIRE_MAX_JOBS": str(turns)}
    async with AsyncExitStack() as exits:
        group = exits.enter_context(SentinelGroup(directory / "redis"))
        queue = None
        if queue_database is not None:
            env[QUEUE_URL] = f"{group.url}/{queue_database}"
            queue = connect(env[QUEUE_URL], connections=2)
            exits.push_async_callback(queue.aclose, close_connection_pool=True)
        redis = cast("RedisServer", group)  # a stack needs only its URL
        view = await exits.enter_async_context(scene(directory, workers=2, env=env, redis=redis))
        yield Failovers(group, view, turns, queue)
