"""Makes the Redis clients.

Every timeout, retry and size is set here, because the defaults of redis-py differ between its versions 5 and 8.
"""

import asyncio
import logging
from typing import Any, Final, TypeVar

from arq.connections import ArqRedis
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from turnwire.shared.errors import SettingsError
from turnwire.shared.settings import Settings
from turnwire.shared.store.connection import PRIMARY_KIND, PrimaryPool
from turnwire.shared.store.sentinel import SENTINEL_KIND
from turnwire.shared.store.sentinel_url import SentinelUrl
from turnwire.shared.store.url import FORMS, check_url

P = TypeVar("P", bound=ConnectionPool)

logger = logging.getLogger(__name__)

DISCONNECT_S: Final = 2.0  # a peer that has vanished holds up no exit for longer

_OPTIONS: dict[str, Any] = {
    "protocol": 2,
    "decode_responses": False,
    "socket_timeout": None,  # it can swallow a cancellation on Python 3.11; callers use asyncio.timeout
    "socket_connect_timeout": 2.0,
    "health_check_interval": 0,
    "retry": Retry(NoBackoff(), 0),
    "retry_on_error": [],
}


def connect_data_and_queue(settings: Settings, *, connections: int) -> tuple[ArqRedis, ArqRedis]:
    """Make the clients for the data Redis and for the queue Redis. They are one object if both have the same URL.

    Raises:
        SettingsError: a URL cannot be read. The text names the variable, and shows nothing of the URL.
    """
    data = _connect_as("TURNWIRE_REDIS_URL", settings.redis_url, connections)
    if settings.queue_url == settings.redis_url:
        return data, data
    return data, _connect_as("TURNWIRE_QUEUE_REDIS_URL", settings.queue_url, connections)


def _connect_as(variable: str, url: str, connections: int) -> ArqRedis:
    try:
        return connect(url, connections=connections)
    except SettingsError as error:
        raise SettingsError(f"{variable}: {error}") from None


def connect(url: str, *, connections: int) -> ArqRedis:
    """Make a client for commands. It opens at most `connections` sockets, and callers wait for a free one.

    The client connects at its first use. It never sends a command a second time by itself, because redis-py cannot know
    which commands may be repeated. arq's own tools accept the client as their pool.

    Raises:
        SettingsError: the URL cannot be read.
    """
    check_url(url)
    try:
        pool = _pool(PrimaryPool, url, max_connections=connections, timeout=None)
        checked: Any = pool  # redis-py does not annotate the next method
        checked.make_connection()  # opens no socket, but refuses an unknown option in the URL
    except (ValueError, TypeError, RedisError):  # the error's own text may hold the password
        raise SettingsError(f"not a Redis URL ({FORMS}), or an unknown option in it") from None
    client = ArqRedis(pool)
    client.set_response_callback("XRANGE", _as_sent)  # the default makes a dict of each entry, which costs too much
    return client


def _as_sent(response: Any, **_: Any) -> Any:
    return response


def connect_listener(url: str) -> Redis:
    """Make a client for connections that wait for long, such as a blocking pop or a subscription."""
    return Redis(connection_pool=_pool(ConnectionPool, url))


async def disconnect(*clients: Redis) -> None:
    """Close the connections of these clients, side by side and for a limited time. An error is only logged."""
    await asyncio.gather(*(_disconnect(client) for client in set(clients)))


async def _disconnect(client: Redis) -> None:
    try:
        async with asyncio.timeout(DISCONNECT_S):
            await client.aclose(close_connection_pool=True)
    except (RedisError, OSError, TimeoutError) as error:
        logger.warning("closing a connection to Redis: %s", type(error).__name__)


def _pool(kind: type[P], url: str, **options: Any) -> P:
    sentinels = SentinelUrl.read(url)
    pool = kind.from_url(sentinels.plain if sentinels else url, **options, **_OPTIONS)
    plain = pool.connection_class
    pool.connection_class = (SENTINEL_KIND if sentinels else PRIMARY_KIND)[plain]
    if sentinels:
        pool.connection_kwargs["sentinel_url"] = sentinels
    if plain is Connection:  # so that a peer that vanished does not hold the connection for ever
        pool.connection_kwargs["socket_keepalive"] = True
    if plain is SSLConnection and pool.connection_kwargs.get("ssl_cert_reqs") != "none":
        pool.connection_kwargs.setdefault("ssl_check_hostname", True)  # before version 6, redis-py does not
    return pool
