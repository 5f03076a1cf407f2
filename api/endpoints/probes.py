"""Answers /healthz and /readyz."""

import asyncio

import msgspec
from redis.exceptions import NoPermissionError, RedisError

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.problems import Draining
from turnwire.api.services import Services
from turnwire.shared.errors import StoreUnavailable

READY_WITHIN_S = 1.0


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
