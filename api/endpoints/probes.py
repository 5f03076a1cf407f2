"""Answers /healthz and /readyz."""

import asyncio

import msgspec
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, NoPermissionError, RedisError

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.problems import Draining
from turnwire.api.services import Services
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.store.connection import WrongServer

READY_WITHIN_S = 1.0


class Health(msgspec.Struct, frozen=True):
    """The answer of a probe: `ok`, or `ready`."""

    status: str


async def is_alive(_: Services, exchange: Exchange) -> None:
    """GET /healthz says that the process answers. It does not ask Redis."""
    await exchange.answer_json(Health("ok"))


async def is_ready(services: Services, exchange: Exchange) -> None:
    """GET /readyz says that the process can accept turns, or which Redis keeps it from that.

    Raises:
        StoreUnavailable, Draining: it cannot accept turns for now. The text names no host.
    """
    if services.leaving or services.draining:
        raise Draining("the server is stopping")
    stores = {"data": services.redis, "queue": services.queue_redis}
    if services.redis is services.queue_redis:
        stores = {"data and queue": services.redis}
    lacks = await asyncio.gather(*(_lack(client) for client in stores.values()))
    found = [f"the Redis of {name} {lack}" for name, lack in zip(stores, lacks, strict=True) if lack]
    if found:
        raise StoreUnavailable("; ".join(found))
    await exchange.answer_json(Health("ready"))


async def _lack(client: Redis) -> str | None:
    """Return why this Redis takes no writes, for the end of a sentence; None if nothing is known against it."""
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            await client.ping()  # a server that is loading answers INFO, but not PING
            role = (await client.info("replication")).get("role")
    except NoPermissionError:  # then the answers to writes have to tell
        return None
    except WrongServer:
        return "is a replica"
    except BusyLoadingError:
        return "still loads its data"
    except (RedisError, OSError, TimeoutError):
        return "does not answer"
    return "is a replica" if role == "slave" else None
