"""Answers /healthz and /readyz, and logs at the start whether Redis is durable."""

import asyncio
import logging
from typing import Any

import msgspec
from redis.exceptions import NoPermissionError, RedisError

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.problems import Draining
from turnwire.api.services import Services
from turnwire.shared.errors import StoreUnavailable

READY_WITHIN_S = 1.0
logger = logging.getLogger(__name__)


class Health(msgspec.Struct, frozen=True):
    """The answer of a probe: `ok`, or `ready`."""

    status: str


async def is_alive(_: Services, exchange: Exchange) -> None:
    """GET /healthz says that the process answers. It does not ask Redis."""
    await exchange.answer_json(Health("ok"))


async def is_ready(services: Services, exchange: Exchange) -> None:
    """GET /readyz says that the process can accept turns.

    Raises:
        StoreUnavailable, Draining: it cannot accept turns for now.
    """
    if services.draining:
        raise Draining("the server is stopping")
    roles: list[str | None] = []
    clients = {id(client): client for client in (services.redis, services.queue_redis)}
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            for client in clients.values():
                await client.ping()  # a server that is loading answers INFO, but not PING
                roles.append((await client.info("replication")).get("role"))
    except NoPermissionError:  # then the answers to writes have to tell
        pass
    except (RedisError, OSError, TimeoutError):
        raise StoreUnavailable("the store does not answer") from None
    if "slave" in roles:
        raise StoreUnavailable("the store is not the primary")
    await exchange.answer_json(Health("ready"))


async def say_durability(redis: Any) -> None:
    """Log whether accepted turns survive a crash of Redis. It never fails and never waits long."""
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            info = {**await redis.info("persistence"), **await redis.info("memory")}
    except (RedisError, OSError, TimeoutError):
        logger.warning("the store does not answer yet; requests are answered with 503 until it does")
        return
    problems = durability_problems(info)
    for text in problems:
        logger.warning("%s", text)
    if not problems:
        logger.info("the store has an append-only file and evicts nothing")


def durability_problems(info: dict[str, Any]) -> list[str]:
    """Return a sentence for each setting in the INFO of Redis that can lose turns."""
    problems = []
    if int(info.get("aof_enabled", 0)) != 1:
        problems.append("the store has no append-only file: its crash loses accepted turns (set appendonly yes)")
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        problems.append(f"the store may evict keys of running turns: maxmemory-policy is {policy}, not noeviction")
    return problems
