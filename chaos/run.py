"""Runs chaos once: two deployments on one server, their clients, and the monkey that breaks them."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from chaos.client import Client
from chaos.clock import SteppedClock
from chaos.deployment import Deployment, deployment
from chaos.faults import LEASE_S, Fault, shape
from chaos.keeper import Keeper
from chaos.leftovers import leftovers
from chaos.load import Load, summary
from chaos.monkey import Monkey
from chaos.proxy import running_proxy
from chaos.reconcile import LEFTOVERS_LIMIT_S, reconcile
from chaos.visits import CheckedAtOnce, Visits
from stack.process import Service
from stack.redis_server import RedisServer
from stack.sentinels import SentinelGroup

OPEN_TURNS: Final = 60  # how many turns of the first deployment are open at a time
OPEN_TWINS: Final = 8  # how many turns of the second one are open at a time; its sessions have the same names
VISITORS: Final = 12  # how many visitors the second one has at a time
RETENTION_S: Final = 40  # how long the second one keeps its turns
# The second deployment checks each turn as soon as it has ended, so its turns have only these faults.
TWIN_FAULTS: Final = ("bad value", "cancel", "signal")
END_LIMIT_S: Final = 90.0
LOOK_S: Final = 0.05
DATABASES: Final = 3  # one for the first deployment, one for the second one, one for the queue of the first one


@dataclass(frozen=True)
class Choice:
    """The strikes, the faults of turns, and the topology of Redis: `single` or `sentinel`."""

    strikes: Collection[str]
    faults: Mapping[str, Fault]
    topology: str = "single"


@dataclass(frozen=True)
class BrokenRedis:
    """The Redis that is struck: its servers, the URL of each database, and the proxy in front of them."""

    server: RedisServer | SentinelGroup
    urls: list[str]
    clock: SteppedClock | None = None
    proxy: Service | None = None
    proxied_url: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)  # settings that the topology needs


class Run:
    """Two deployments under load. The second one keeps its turns only briefly, and its sessions come again later."""

    def __init__(self, first: Deployment, second: Deployment, keeper: Keeper, monkey: Monkey) -> None:
        self.first = first
        self.second = second
        self.keeper = keeper
        self.monkey = monkey
        self.longest_lag_s = 0.0  # for how long the event loop of this program, which runs all clients, was held up
        self.visits = Visits(second, RETENTION_S + monkey.clock_may_go_back_s)
        self.at_once = CheckedAtOnce(second)
        second.load.ended = self.at_once
        second.load.kept_s = RETENTION_S

    async def rage(self, chance: random.Random, until_s: float) -> None:
        """Ask turns and break things until the time is over."""
        strike_at_s = time.monotonic() + 1
        striking: asyncio.Task[None] | None = None
        while time.monotonic() < until_s:
            self._start_clients(chance)
            if time.monotonic() > strike_at_s and (striking is None or striking.done()):
                if striking:
                    striking.result()
                striking = asyncio.create_task(self.monkey.strike())
                strike_at_s = time.monotonic() + chance.uniform(0.5, 3)
            began_s = time.monotonic()
            await asyncio.sleep(LOOK_S)
            self.longest_lag_s = max(self.longest_lag_s, time.monotonic() - began_s - LOOK_S)
        if striking:
            await striking

    async def settle(self) -> list[str]:
        """Wait for every client, then reconcile every turn. Returns the violations."""
        found = await self.visits.over(END_LIMIT_S)
        for each in (self.first, self.second):
            found += [f"{each.name or 'first'}: {text}" for text in await each.load.over(END_LIMIT_S)]
        first, ended = self.first, [answer for answer in self.first.load.answers if answer.ended]
        lost, stepped = bool(self.monkey.strikes["lose_queue"]), bool(self.monkey.strikes["step_clock"])
        found += [
            text
            async for text in reconcile(
                first.client,
                first.redis,
                ended,
                first.ledger,
                queue=first.queue,
                queue_was_lost=lost,
                clock_stepped=stepped,
                fails_over=first.client.fails_over,
            )
        ]
        left = await leftovers(self.second.redis, LEFTOVERS_LIMIT_S, fails_over=first.client.fails_over)
        found += [f"second: {text}" for text in left]
        return (
            found + [f"second: {text}" for text in self.at_once.findings] + self.keeper.findings + self.monkey.findings
        )

    def figures(self) -> dict[str, Any]:
        """Return what happened, in numbers."""
        return summary(self.first.load.answers, self.first.ledger) | {
            "turns of the second": len(self.second.load.answers),
            "checked while kept": self.at_once.checked,
            "expired unchecked": self.second.load.expired,
            "retention crossed": self.visits.crossed,
            "strikes": dict(sorted(self.monkey.strikes.items())),
            "ended processes": dict(self.keeper.ended),
            "longest lag here, s": round(self.longest_lag_s, 1),
        }

    def _start_clients(self, chance: random.Random) -> None:
        if self.first.load.open < OPEN_TURNS:
            name = self.first.load.start_session(chance.randint(1, 4))
            if self.second.load.open < OPEN_TWINS + VISITORS:
                self.second.load.start_session(chance.randint(1, 4), name)
        if self.visits.open < VISITORS:
            self.visits.start()


async def chaos(seconds: float, chance: random.Random, directory: Path, choice: Choice) -> list[str]:
    """Run chaos once and print the table. Returns the violations."""
    async with _running(chance, directory, choice) as run:
        keeping = asyncio.create_task(run.keeper.run())
        await run.rage(chance, time.monotonic() + seconds)
        violations = await run.settle()
        keeping.cancel()
        figures = run.figures()
    for name, value in (figures | {"violations": len(violations)}).items():
        print(f"{name:<26}{value}")
    return violations


@asynccontextmanager
async def _running(chance: random.Random, directory: Path, choice: Choice) -> AsyncIterator[Run]:
    def load(client: Client, name: str, faults: Mapping[str, Fault]) -> Load:
        return Load(client, chance, partial(shape, faults=faults), name)

    twin_faults = {name: fault for name, fault in choice.faults.items() if name in TWIN_FAULTS}
    async with AsyncExitStack() as exits:
        redis = exits.enter_context(_redis(directory, choice))
        first = await exits.enter_async_context(
            deployment(
                directory,
                "",
                partial(load, name="", faults=choice.faults),
                workers=3,
                apis=2,
                redis_url=redis.urls[0],
                queue_url=redis.urls[2] if "lose_queue" in choice.strikes else None,
                proxied_url=redis.proxied_url,
                env=redis.env,
            )
        )
        second = await exits.enter_async_context(
            deployment(
                directory / "second",
                "second",
                partial(load, name="second", faults=twin_faults),
                workers=1,
                apis=1,
                redis_url=redis.urls[1],
                env={"TURNWIRE_RETENTION_S": str(RETENTION_S), **redis.env},
            )
        )
        yield _run_of(first, second, redis, chance, choice)


def _run_of(first: Deployment, second: Deployment, redis: BrokenRedis, chance: random.Random, choice: Choice) -> Run:
    stacks = [first.stack, second.stack]
    services = [service for stack in stacks for service in stack.services]
    keeper = Keeper([*services, *filter(None, [redis.proxy])], [first.ledger, second.ledger])
    monkey = Monkey(
        stacks,
        redis.server,
        first.redis,
        chance,
        LEASE_S,
        keeper=keeper,
        proxy=redis.proxy,
        queue=first.queue,
        clock=redis.clock,
        strikes=choice.strikes,
    )
    return Run(first, second, keeper, monkey)


@contextmanager
def _redis(directory: Path, choice: Choice) -> Iterator[BrokenRedis]:
    if choice.topology == "sentinel":
        with SentinelGroup(directory / "redis") as group:
            urls = [f"{group.url}/{database}" for database in range(DATABASES)]
            # With less than all, an ordered failover loses what only the replicas have that are not promoted.
            yield BrokenRedis(group, urls, env={"TURNWIRE_REDIS_REPLICAS": str(len(group.servers) - 1)})
        return
    server = RedisServer(directory / "redis", aof=True)
    clock = SteppedClock(directory, server.service) if "step_clock" in choice.strikes else None
    with server, running_proxy(directory, server.url_of(0)) as (proxy, proxied_url):
        urls = [server.url_of(database) for database in range(DATABASES)]
        yield BrokenRedis(server, urls, clock, proxy, proxied_url)
