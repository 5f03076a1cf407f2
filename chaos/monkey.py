"""Breaks one thing at a time, at random, and puts it back. What ends by itself is a finding."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from stack.cluster import Stack
from stack.process import Service
from stack.redis_server import RedisServer

REDIS_AWAY_S = 0.7
DRAIN_LIMIT_S = 15.0


class Monkey:
    """`strike` breaks something; `findings` are processes that ended though nobody had asked them to."""

    def __init__(self, stack: Stack, server: RedisServer, redis: Redis, chance: random.Random, lease_s: float) -> None:
        self.strikes: Counter[str] = Counter()
        self.findings: list[str] = []
        self._stack = stack
        self._server = server
        self._redis = redis
        self._chance = chance
        self._lease_s = lease_s
        self._kinds: list[Callable[[], Awaitable[None]]] = [
            self.kill_worker,
            self.kill_worker,
            self.stop_worker,
            self.pause_worker,
            self.kill_api,
            self.restart_redis,
            self.kill_redis,
            self.pause_redis,
            self.cut_connections,
        ]

    async def strike(self) -> None:
        """One of the kinds."""
        self._look()
        kind = self._chance.choice(self._kinds)
        self.strikes[kind.__name__] += 1
        await kind()

    async def kill_worker(self) -> None:
        """SIGKILL, and a new one."""
        service = self._chance.choice(self._stack.worker)
        service.kill()
        service.start()

    async def stop_worker(self) -> None:
        """SIGTERM, and a new one when it has drained."""
        service = self._chance.choice(self._stack.worker)
        if "worker ready" not in service.log(since_start=True):
            return
        service.terminate()
        await asyncio.to_thread(self._drained, service)
        service.start()

    async def pause_worker(self) -> None:
        """SIGSTOP past its lease, SIGCONT."""
        service = self._chance.choice(self._stack.worker)
        service.pause()
        await asyncio.sleep(self._lease_s * self._chance.uniform(0.5, 2.5))
        service.resume()

    async def kill_api(self) -> None:
        """SIGKILL, and a new one on the same port."""
        service = self._chance.choice(self._stack.api)
        service.kill()
        service.start()

    async def restart_redis(self) -> None:
        """SIGTERM, away for a moment, back."""
        self._server.service.terminate()
        await asyncio.to_thread(self._server.service.wait, 10)
        await self._redis_back()

    async def kill_redis(self) -> None:
        """SIGKILL, away for a moment, back."""
        self._server.kill()
        await self._redis_back()

    async def pause_redis(self) -> None:
        """SIGSTOP: nobody gets an answer, every lease may lapse; SIGCONT."""
        self._server.pause()
        await asyncio.sleep(self._lease_s * self._chance.uniform(0.5, 4))
        self._server.resume()

    async def cut_connections(self) -> None:
        """Every connection to Redis is closed once."""
        for kind in ("normal", "pubsub"):
            await self._redis.execute_command(f"CLIENT KILL TYPE {kind}")  # type: ignore[no-untyped-call]

    async def _redis_back(self) -> None:
        await asyncio.sleep(REDIS_AWAY_S)
        await asyncio.to_thread(self._start_redis)

    def _start_redis(self) -> None:
        self._server.start()

    def _drained(self, service: Service) -> None:
        try:
            code = service.wait(DRAIN_LIMIT_S)
        except TimeoutError as error:
            self.findings.append(str(error))
            service.kill()
        else:
            if code:
                self.findings.append(f"{service.name} ended with {code} when it was asked to stop")

    def _look(self) -> None:
        for service in self._stack.services:
            if not service.running:
                self.findings.append(f"{service.name} ended by itself: {service.last_lines()}")
                service.start()
