"""One deployment that chaos breaks: its processes, its database, its clients and the calls of its product."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from chaos.client import Client
from chaos.faults import HOOK_TIMEOUT_S, LEASE_S, MAX_ATTEMPTS
from chaos.load import Load
from stack.cluster import Stack

ENV = {
    "TURNWIRE_HOOKS": "chaos.product:hooks,plain=chaos.product:plain,listening=chaos.product:listening",
    "TURNWIRE_LEASE_MS": str(int(LEASE_S * 1000)),
    "TURNWIRE_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    "TURNWIRE_DRAIN_S": "0.5",
    "TURNWIRE_REDIS_TIMEOUT_S": "2",
    "TURNWIRE_HOOK_TIMEOUT_S": str(HOOK_TIMEOUT_S),
}

SENTINEL_SCHEME = "redis+sentinel://"


@dataclass
class Deployment:
    """The parts of a deployment. Each text of its product begins with `name`."""

    name: str
    stack: Stack
    ledger: Path
    redis: Redis
    queue: Redis | None  # None: the same database
    client: Client
    load: Load


@asynccontextmanager
async def deployment(
    directory: Path,
    name: str,
    load: Callable[[Client], Load],
    *,
    workers: int,
    apis: int,
    redis_url: str,
    queue_url: str | None = None,
    proxied_url: str | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Deployment]:
    """Start a deployment, and stop it at the end. `proxied_url`: where its first worker and first API reach Redis."""
    ledger = directory / "ledger"
    settings = ENV | {"TURNWIRE_REDIS_URL": redis_url, "CHAOS_LEDGER": str(ledger), "CHAOS_NAME": name}
    if queue_url:
        settings["TURNWIRE_QUEUE_REDIS_URL"] = queue_url
    async with AsyncExitStack() as exits:
        stack = Stack(directory, workers=workers, apis=apis, env=settings | dict(env or {}))
        if proxied_url:
            for service in (stack.worker[0], stack.api[0]):
                service.env["TURNWIRE_REDIS_URL"] = proxied_url
        exits.enter_context(stack)
        redis = observer(redis_url)
        exits.push_async_callback(redis.aclose)
        queue = observer(queue_url) if queue_url else None
        if queue:
            exits.push_async_callback(queue.aclose)
        fails_over = redis_url.startswith(SENTINEL_SCHEME)
        client = await exits.enter_async_context(Client(stack.base_urls, fails_over=fails_over))
        yield Deployment(name, stack, ledger, redis, queue, client, load(client))


def observer(redis_url: str) -> Redis:
    """Return a client that speaks to any server, also to a replica. It retries for some seconds."""
    options: dict[str, Any] = {"retry": Retry(ConstantBackoff(0.2), 50), "retry_on_error": [RedisConnectionError]}
    client: Redis
    if redis_url.startswith(SENTINEL_SCHEME):
        parts = urlsplit(redis_url)
        hosts = [(host.partition(":")[0], int(host.partition(":")[2])) for host in parts.netloc.split(",")]
        _, service, database = parts.path.split("/")
        client = Sentinel(hosts).master_for(service, db=int(database), **options)  # type: ignore[no-untyped-call]
    else:
        client = Redis.from_url(redis_url, **options)
    client.set_response_callback("XRANGE", lambda response, **_: response)
    return client
