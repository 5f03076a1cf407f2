"""Breaks one thing at a time, at random, and puts it back."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chaos.clock import SteppedClock
from chaos.keeper import Keeper
from stack.cluster import Stack
from stack.process import Service
from stack.redis_server import RedisServer
from stack.sentinels import SentinelGroup

REDIS_AWAY_S = 0.7
READ_ONLY_S = 1.0
CLOCK_STEP_S = 10
NOBODY = ("127.0.0.1", 1)  # no server listens there
DRAIN_LIMIT_S = 15.0

STRIKES: Final = {  # name -> how often, compared with the others; the docstring of the method says what it does
    "kill_worker": 2,
    "stop_worker": 1,
    "pause_worker": 1,
    "kill_api": 1,
    "restart_redis": 1,
    "kill_redis": 1,
    "pause_redis": 1,
    "cut_connections": 1,
    "reset_connections": 1,
    "make_read_only": 1,
    "lose_queue": 1,
    "step_clock": 1,
    "fail_over": 1,
    "kill_primary": 1,
}
ON_REQUEST: Final = {"step_clock"}  # not among the strikes of an ordinary run
ONLY_IN: Final = {  # the topologies in which some of the strikes make sense
    "single": {"restart_redis", "kill_redis", "make_read_only", "reset_connections", "lose_queue", "step_clock"},
    "sentinel": {"fail_over", "kill_primary"},
}

# A write is acknowledged when both replicas have it. Nothing keeps it if a server that was killed, and has come back
# with old data, is promoted because the two others fail before it has caught up. So these strikes wait for that.
ON_WHOLE_GROUP: Final = {"fail_over", "kill_primary", "pause_redis"}


def possible(topology: str) -> list[str]:
    """Return the strikes that make sense in this topology."""
    elsewhere = set().union(*(names for name, names in ONLY_IN.items() if name != topology))
    return [name for name in STRIKES if name not in elsewhere]


def ordinary(topology: str) -> list[str]:
    """Return the strikes of an ordinary run."""
    return [name for name in possible(topology) if name not in ON_REQUEST]


class Monkey:
    """Breaks something with each `strike`. `findings`: processes that did not end properly when they were asked to."""

    def __init__(
        self,
        stacks: Sequence[Stack],
        server: RedisServer | SentinelGroup,
        redis: Redis,
        chance: random.Random,
        lease_s: float,
        *,
        keeper: Keeper | None = None,
        proxy: Service | None = None,
        queue: Redis | None = None,
        clock: SteppedClock | None = None,
        strikes: Collection[str],
    ) -> None:
        self.strikes: Counter[str] = Counter()
        self.findings: list[str] = []
        self._workers = [service for stack in stacks for service in stack.worker]
        self._apis = [service for stack in stacks for service in stack.api]
        self._server = server
        self._redis = redis
        self._chance = chance
        self._lease_s = lease_s
        self._keeper = keeper or Keeper([], [])
        self._proxy = proxy
        self._queue = queue
        self._clock = clock
        self._names = list(strikes)

    async def strike(self) -> None:
        """Break something in this way, and put it back."""
        names = self._names
        if isinstance(self._server, SentinelGroup) and not await asyncio.to_thread(self._server.is_whole):
            names = [name for name in names if name not in ON_WHOLE_GROUP]
        if not names:
            return
        [name] = self._chance.choices(names, [STRIKES[name] for name in names])
        self.strikes[name] += 1
        kind: Callable[[], Awaitable[None]] = getattr(self, name)
        await kind()

    async def kill_worker(self) -> None:
        """SIGKILL for a worker; then it is started again."""
        service = self._chance.choice(self._workers)
        with self._keeper.held(service):
            service.kill()
            service.start()

    async def stop_worker(self) -> None:
        """SIGTERM for a worker; when it has drained, it is started again."""
        service = self._chance.choice(self._workers)
        with self._keeper.held(service):
            if "worker ready" not in service.log(since_start=True):
                return
            service.terminate()
            await asyncio.to_thread(self._drained, service)
            service.start()

    async def pause_worker(self) -> None:
        """SIGSTOP for a worker until its leases have ended, then SIGCONT."""
        service = self._chance.choice(self._workers)
        with self._keeper.held(service):
            service.pause()
            await asyncio.sleep(self._lease_s * self._chance.uniform(0.5, 2.5))
            service.resume()

    async def kill_api(self) -> None:
        """SIGKILL for an API process; then it is started again on the same port."""
        service = self._chance.choice(self._apis)
        with self._keeper.held(service):
            service.kill()
            service.start()

    async def restart_redis(self) -> None:
        """SIGTERM for Redis; after a moment it is started again with its append-only file."""
        server = await self._primary()
        server.service.terminate()
        await asyncio.to_thread(server.service.wait, 10)
        await self._back(server)

    async def kill_redis(self) -> None:
        """SIGKILL for Redis; after a moment it is started again with its append-only file."""
        server = await self._primary()
        server.kill()
        await self._back(server)

    async def pause_redis(self) -> None:
        """SIGSTOP for Redis: nobody gets an answer, and every lease may lapse; then SIGCONT."""
        server = await self._primary()
        server.pause()
        await asyncio.sleep(self._lease_s * self._chance.uniform(0.5, 4))
        server.resume()

    async def fail_over(self) -> None:
        """The sentinels are asked to make a replica the primary, although the primary lives."""
        assert isinstance(self._server, SentinelGroup)
        await self._replaced(self._server.fail_over)

    async def kill_primary(self) -> None:
        """SIGKILL for the primary; once the sentinels have promoted a replica, it is started with old data."""
        assert isinstance(self._server, SentinelGroup)
        server = await self._primary()
        server.kill()
        await self._replaced(partial(self._server.wait_switched, server))
        await self._back(server)

    async def cut_connections(self) -> None:
        """CLIENT KILL closes every connection to Redis once."""
        for kind in ("normal", "pubsub"):
            await self._redis.execute_command(f"CLIENT KILL TYPE {kind}")  # type: ignore[no-untyped-call]

    async def reset_connections(self) -> None:
        """A proxy resets (RST) the connections of one worker and one API process to Redis."""
        if self._proxy:
            os.kill(self._proxy.pid, signal.SIGUSR1)

    async def make_read_only(self) -> None:
        """Redis is made the replica of a server that does not exist; after a second it is a primary again."""
        await self._redis.replicaof(*NOBODY)
        await asyncio.sleep(READ_ONLY_S)
        await self._redis.replicaof("NO", "ONE")

    async def lose_queue(self) -> None:
        """FLUSHDB deletes the queue's database; the turns are in another one."""
        if self._queue:
            await self._queue.flushdb()

    @property
    def clock_may_go_back_s(self) -> int:
        """By how much the wall clock of Redis may go back, so that what has a TTL lives longer."""
        return CLOCK_STEP_S if self._clock else 0

    async def step_clock(self) -> None:
        """The wall clock of Redis jumps ahead or back by ten leases. This needs a C compiler."""
        if self._clock:
            self._clock.step(-self._clock.ahead_s or CLOCK_STEP_S)

    async def _primary(self) -> RedisServer:
        if isinstance(self._server, RedisServer):
            return self._server
        while True:
            with suppress(RedisError, OSError):  # a sentinel may answer late
                return await asyncio.to_thread(lambda group: group.primary, self._server)

    async def _replaced(self, wait: Callable[[], object]) -> None:
        try:
            await asyncio.to_thread(wait)
        except TimeoutError:
            self.strikes["without a failover"] += 1  # the sentinels make a pause between two failovers

    async def _back(self, server: RedisServer) -> None:
        await asyncio.sleep(REDIS_AWAY_S)
        await asyncio.to_thread(server.start)

    def _drained(self, service: Service) -> None:
        try:
            code = service.wait(DRAIN_LIMIT_S)
        except TimeoutError as error:
            self.findings.append(f"{error}: {service.last_lines()}")
            service.kill()
        else:
            if code and not self._keeper.by_its_turn(service):
                self.findings.append(f"{service.name} ended with {code} when it was asked to stop")
