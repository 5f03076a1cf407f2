"""The Redis clients. Every timeout, retry and size is explicit: redis-py's defaults differ between 5 and 8."""

from typing import Any

from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from turnwire.shared.errors import SettingsError

_OPTIONS: dict[str, Any] = {
    "protocol": 2,
    "decode_responses": False,
    "socket_timeout": None,  # on Python 3.11 a socket timeout can swallow a cancellation; callers use asyncio.timeout
    "socket_connect_timeout": 2.0,
    "health_check_interval": 0,
    "retry": Retry(NoBackoff(), 0),
    "retry_on_error": [],
}


def connect(url: str, *, connections: int) -> ArqRedis:
    """A client for commands: at most `connections` sockets, callers wait for a free one.

    It never sends a command again by itself: redis-py cannot know which may be (shared/courier.py does). Connects at
    first use. arq's own tools accept it as their pool.

    Raises:
        SettingsError: the URL cannot be read.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=None,
            **_OPTIONS,
        )
    except (ValueError, RedisError):  # its text may hold the password
        raise SettingsError("not a Redis URL (redis://…, rediss://… or unix://…)") from None
    _keep_alive(pool)
    client = ArqRedis(pool)
    client.set_response_callback("XRANGE", _as_sent)  # a log's entries: a dict for each would cost more than the read
    return client


def _as_sent(response: Any, **_: Any) -> Any:
    return response


def connect_listener(url: str) -> Redis:
    """A client for connections that wait: a blocking pop, a subscription."""
    pool = ConnectionPool.from_url(url, **_OPTIONS)
    _keep_alive(pool)
    return Redis(connection_pool=pool)


def _keep_alive(pool: ConnectionPool) -> None:
    if pool.connection_class is Connection:  # a TCP peer that vanished must not hold a connection for ever
        pool.connection_kwargs["socket_keepalive"] = True
