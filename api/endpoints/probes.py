"""/healthz and /readyz, and what is said once at start about the durability of the Redis."""

import asyncio
import logging
from typing import Any

from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response

from turnwire.api.edge.problems import Draining
from turnwire.api.services import Services
from turnwire.shared.errors import StoreUnavailable

READY_WITHIN_S = 1.0
_OK = {"content-type": "application/json", "cache-control": "no-store"}
logger = logging.getLogger(__name__)


class Probes:
    """For whoever starts, stops and routes to this process."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def alive(self, _: Request) -> Response:
        """GET /healthz: the process answers. Redis is not asked."""
        return Response(b'{"status":"ok"}', 200, _OK)

    async def ready(self, _: Request) -> Response:
        """GET /readyz: turns can be taken.

        Raises:
            StoreUnavailable, Draining: not now.
        """
        if self._services.draining:
            raise Draining("the server is about to stop")
        clients = {id(client): client for client in (self._services.redis, self._services.queue_redis)}
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                for client in clients.values():
                    await client.ping()
        except (RedisError, OSError, TimeoutError):
            raise StoreUnavailable("the store does not answer") from None
        return Response(b'{"status":"ready"}', 200, _OK)


async def say_durability(redis: Any) -> None:
    """Log whether accepted turns survive a crash of Redis; never fails, never waits long."""
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            info = {**await redis.info("persistence"), **await redis.info("memory")}
    except (RedisError, OSError, TimeoutError):
        logger.warning("the store does not answer yet; requests get 503 until it does")
        return
    problems = durability_problems(info)
    for text in problems:
        logger.warning("%s", text)
    if not problems:
        logger.info("the store keeps an append-only file and evicts nothing")


def durability_problems(info: dict[str, Any]) -> list[str]:
    """What in Redis' own INFO can lose turns."""
    problems = []
    if int(info.get("aof_enabled", 0)) != 1:
        problems.append("the store keeps no append-only file: a crash of it loses accepted turns (appendonly yes)")
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        problems.append(f"the store may evict keys of running turns: maxmemory-policy is {policy}, not noeviction")
    return problems
