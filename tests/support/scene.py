"""A running service for a fault test: a Stack with the chaos product, clients, the product's calls, and its Redis."""

import asyncio
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from arq.connections import ArqRedis

from chaos import verify
from chaos.client import Answer, Client
from chaos.leftovers import check_leftovers
from stack.cluster import ROOT, Stack
from stack.process import Service
from stack.redis_server import RedisServer
from tests.support.turns import snapshot
from tests.support.waiting import LIMIT_S, wait_until
from turnwire.shared import keys
from turnwire.shared.keys import TurnKey
from turnwire.shared.settings import Settings
from turnwire.shared.store.connect import connect
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore

SETTINGS = {
    "TURNWIRE_HOOKS": "chaos.product:hooks",
    "TURNWIRE_LEASE_MS": "1000",
    "TURNWIRE_POLL_S": "0.5",
    "TURNWIRE_REDIS_TIMEOUT_S": "1",
    "TURNWIRE_MAX_ATTEMPTS": "5",
    "TURNWIRE_DRAIN_S": "0",
    "TURNWIRE_RETENTION_S": "600",
}


def open_gate(gate: Path, attempt: int) -> None:
    """Let one attempt go on."""
    Path(str(gate).replace("{attempt}", str(attempt))).touch()


class Scene:
    """An async context manager around running processes. Sessions are fresh, so several tests can share a Stack."""

    def __init__(self, stack: Stack, ledger: Path) -> None:
        self.stack = stack
        self.directory = ledger.parent
        self.ledger = ledger
        self._exit = AsyncExitStack()
        self._tasks: list[asyncio.Task[Any]] = []
        self._services: list[Service] = []

    async def __aenter__(self) -> Self:
        assert self.stack.redis is not None
        self.redis: ArqRedis = connect(self.stack.redis.url, connections=8)
        self._exit.push_async_callback(self.redis.aclose, close_connection_pool=True)
        self.client = await self._exit.enter_async_context(Client(self.stack.base_urls))
        settings = Settings(redis_url=self.stack.redis.url, lease_ms=1000)
        self.store, self.queue = TurnStore(self.redis, settings), TurnQueue(self.redis, settings)
        return self

    async def __aexit__(self, *error: object) -> None:
        for service in self.stack.services:
            service.resume()
        for service in self._services:
            if service.running:
                service.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exit.aclose()

    def turn(self, session: str | None = None, index: int = 0, **metadata: Any) -> Answer:
        """Return a turn that nobody has asked yet. The keywords are its metadata, see chaos/product.py."""
        return Answer(session or f"s-{uuid.uuid4().hex[:12]}", index, metadata)

    def ask(self, answer: Answer, *, retry: bool = False) -> "asyncio.Task[Answer]":
        """Start a client that asks the turn and reads its stream, on one connection unless it may `retry`."""
        task = asyncio.create_task(self.client.ask(answer, retry=retry))
        self._tasks.append(task)
        return task

    async def submit(self, *answers: Answer) -> None:
        """Ask turns without reading them."""
        for answer in answers:
            response = await self.client.submit(answer)
            assert response.status_code in {200, 202}, response.text  # 200: the turn has ended already

    def gate(self) -> Path:
        """Return the path of a gate: a producer can wait there, and continues once this file exists."""
        return self.directory / f"gate-{uuid.uuid4().hex[:12]}"

    def gate_of_each_attempt(self) -> Path:
        """Return a gate at which each attempt waits for a file of its own; `open_gate` makes that file."""
        return self.directory / f"gate-{uuid.uuid4().hex[:12]}-{{attempt}}"

    def calls(self, answer: Answer, name: str | None = None) -> list[dict[str, Any]]:
        """Return the calls that the product got for this turn so far."""
        return [call for call in verify.read_ledger(self.ledger)[answer.run_id] if name in (None, call["call"])]

    def count(self, answer: Answer) -> Counter[str]:
        return Counter(call["call"] for call in self.calls(answer))

    async def called(self, answer: Answer, name: str, count: int = 1, limit_s: float = LIMIT_S) -> None:
        """Wait until the product got this call `count` times."""
        await wait_until(lambda: len(self.calls(answer, name)) >= count, f"{name} of {answer.run_id}", limit_s)

    async def status(self, answer: Answer) -> str | None:
        status: bytes | None = await self.redis.hget(TurnKey.parse(answer.run_id).record, "status")  # type: ignore[misc]
        return status.decode() if status else None

    async def ended(self, *answers: Answer, limit_s: float = LIMIT_S) -> None:
        """Wait until these turns are terminal."""
        for answer in answers:

            async def over(answer: Answer = answer) -> bool:
                return await self.status(answer) in {"completed", "failed", "cancelled"}

            await wait_until(over, f"the end of {answer.run_id}", limit_s)

    async def runs_on(self, answer: Answer) -> Service:
        """Return the worker that has the turn's lease."""
        lease = TurnKey.parse(answer.run_id).lease
        holder = await wait_until(lambda: self.redis.get(lease), f"a lease of {answer.run_id}")
        pid = int(holder.decode().split("/")[1])
        return next(service for service in self.stack.worker if service.running and service.pid == pid)

    async def dump(self, answer: Answer) -> dict[bytes, tuple[bytes, int]]:
        """Return every key of the turn, with its content and when it expires."""
        everything = await snapshot(self.redis)
        mark = f"{{{answer.session}}}:{answer.index}".encode()
        return {name: content for name, content in everything.items() if name.endswith(mark)}

    async def check(self, *answers: Answer) -> None:
        """Check everything that must hold of completed turns, and that nothing is left of them."""
        found = []
        for answer in answers:
            found += await verify.check_turn(self.client, self.redis, answer, self.calls(answer))
        await self.nothing_left()
        assert not found, "\n".join(found)

    async def nothing_left(self, limit_s: float = LIMIT_S) -> None:
        """Check that no job, claim, lease or open turn is left, and that every key will expire."""
        found: list[str] = []

        async def clean() -> bool:
            found[:] = await check_leftovers(self.redis)
            return not found

        try:
            await wait_until(clean, "an empty queue", limit_s)
        except AssertionError:
            raise AssertionError("\n".join(found)) from None

    async def due_now(self, answer: Answer) -> None:
        """Make the turn due for the sweep now, as if its time had passed."""
        await self.redis.zadd(keys.OPEN_TURNS, {answer.run_id: 0})

    async def crashes(self, answer: Answer) -> int:
        """Return how many of the turn's workers count as crashed."""
        return int(await self.redis.hget(TurnKey.parse(answer.run_id).record, "crashes"))  # type: ignore[misc]

    def worker(self, name: str, module: str = "worker", **env: str) -> Service:
        """Return one more process, not started yet: `python -m module`, with `env` added to the stack's settings."""
        template = self.stack.worker[0]
        argv = [sys.executable, "-m", module]
        log_path = self.directory / f"{name}-{len(self._services)}.log"
        self._services.append(Service(name, argv, template.env | env, log_path, cwd=ROOT))
        return self._services[-1]


@asynccontextmanager
async def scene(
    directory: Path,
    *,
    workers: int = 1,
    apis: int = 1,
    env: Mapping[str, str] | None = None,
    redis: RedisServer | None = None,
) -> AsyncIterator[Scene]:
    """Run a Stack of the test's own. Yields the view of it."""
    ledger = directory / "ledger"
    settings = SETTINGS | {"CHAOS_LEDGER": str(ledger)} | dict(env or {})
    with Stack(directory, workers=workers, apis=apis, env=settings, redis=redis) as stack:
        async with Scene(stack, ledger) as view:
            yield view
