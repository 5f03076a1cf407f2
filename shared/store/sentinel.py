"""Connections to the primary that Redis Sentinels name, and a watch for its changes.

A connection asks the Sentinels for the address when it is made, and the server for its role. After a failover that
somebody has ordered, the old primary goes on taking writes for seconds which will all be thrown away. So one task per
event loop watches for failovers: it subscribes to `+switch-master` at one of the Sentinels, and also asks that one
every two seconds, because messages may be lost. When the address changes, it closes every connection to another one.

Sentinels may disagree for a moment. The answer with the highest configuration epoch is the newest one.
"""

import asyncio
import logging
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from turnwire.shared.store.connection import PrimaryConnection, TcpConnection, TlsConnection
from turnwire.shared.store.sentinel_url import SentinelUrl

logger = logging.getLogger(__name__)

ASK_S: Final = 1.0  # a Sentinel that does not answer within this time is left out
POLL_S: Final = 2.0  # how often the watch asks a Sentinel, beside its messages
PAUSE_S: Final = 0.2  # before the watch goes to the next Sentinel

Address = tuple[str, int]


class Named(NamedTuple):
    """The primary that a Sentinel has named."""

    epoch: int  # of the Sentinels' configuration: a higher one is newer
    address: Address


class Sentinels:
    """The Sentinels of one service, as one event loop sees them. They are asked only while there are connections."""

    def __init__(self, url: SentinelUrl) -> None:
        self._url = url
        self._named: Named | None = None
        self._doubted = False  # there was no primary where they have named it
        self._asking = asyncio.Lock()
        self._open: weakref.WeakSet[PrimaryConnection] = weakref.WeakSet()
        self._watching: asyncio.Task[None] | None = None

    async def primary(self) -> Address:
        """Return the address of the primary.

        Raises:
            ConnectionError: no Sentinel names one.
        """
        async with self._asking:
            named = self._named
            if named is None or self._doubted:
                found = await asyncio.gather(*(self._ask_alone(host) for host in self._url.hosts))
                answers = [answer for answer in found if answer is not None]
                if not answers:
                    raise RedisConnectionError(f"no Sentinel names a primary of {self._url.service!r}")
                named = self._learn(max(answers), all_agree=len(set(found)) == 1)
            return named.address

    def doubt(self, address: Address) -> None:
        """Ask anew for the next connection, because there is no primary at this address."""
        if self._named is not None and self._named.address == address:
            self._doubted = True

    def opened(self, connection: PrimaryConnection) -> None:
        """Close this connection when the primary has another address."""
        self._open.add(connection)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name=f"watch Sentinels of {self._url.service}")

    def _learn(self, named: Named, *, all_agree: bool = False) -> Named:
        """Take an answer, unless a newer one is known. Returns the newer one."""
        known = self._named
        if known is not None and named.epoch < known.epoch and not all_agree:
            return known  # this Sentinel has not heard of the last failover yet
        self._named, self._doubted = named, False
        if known is not None and named.address == known.address:
            return named
        others = [one for one in list(self._open) if one.is_connected and address_of(one) != named.address]
        if others:
            logger.warning(
                "the Redis primary of %r is at %s:%d now: %d connections to its old address are closed",
                self._url.service, *named.address, len(others),
            )  # fmt: skip
        for connection in others:
            connection.abort()
        return named

    async def _watch(self) -> None:
        """Watch for as long as there are connections."""
        turn = 0
        while any(connection.is_connected for connection in self._open):
            host = self._url.hosts[turn % len(self._url.hosts)]
            try:
                async with self._connected(host) as listening, self._connected(host) as asked:
                    await self._follow(listening, asked)
            except (RedisError, OSError, TimeoutError) as error:
                logger.info("Sentinel %s:%d does not answer (%s); asking the next one", *host, type(error).__name__)
            turn += 1
            await asyncio.sleep(PAUSE_S)

    async def _follow(self, listening: AbstractConnection, asked: AbstractConnection) -> None:
        """Follow one Sentinel until it fails, or no connection is left."""
        async with asyncio.timeout(ASK_S):
            await listening.send_command("SUBSCRIBE", "+switch-master")
        while any(connection.is_connected for connection in self._open):
            try:
                async with asyncio.timeout(POLL_S):
                    await listening.read_response(disconnect_on_error=False)
            except TimeoutError:
                pass  # no message: it may have been lost
            named = await self._ask(asked)
            if named is not None:
                self._learn(named)

    async def _ask_alone(self, host: Address) -> Named | None:
        try:
            async with self._connected(host) as connection:
                return await self._ask(connection)
        except (RedisError, OSError, TimeoutError):
            return None

    async def _ask(self, connection: AbstractConnection) -> Named | None:
        async with asyncio.timeout(ASK_S):
            await connection.send_command("SENTINEL", "MASTER", self._url.service)
            reply = await connection.read_response()
        told = {name.decode(): value.decode() for name, value in zip(reply[::2], reply[1::2], strict=True)}
        return Named(int(told["config-epoch"]), (told["ip"], int(told["port"]))) if told["ip"] else None

    @asynccontextmanager
    async def _connected(self, host: Address) -> AsyncGenerator[AbstractConnection]:
        connection: Any = connection_to(self._url, host)
        try:
            async with asyncio.timeout(ASK_S):
                await connection.connect()
            yield connection
        finally:
            await connection.disconnect(nowait=True)


def connection_to(url: SentinelUrl, host: Address) -> Connection:
    """Return a connection to one of the Sentinels. It takes the TLS options of the URL, but not user and password."""
    options: dict[str, Any] = dict(parse_url(url.plain))
    kind = options.pop("connection_class", Connection)
    secure = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if kind is SSLConnection:
        secure.setdefault("ssl_check_hostname", True)  # before version 6, redis-py does not
    connection: Connection = kind(
        host=host[0], port=host[1], username=url.username, password=url.password, protocol=2,
        socket_connect_timeout=ASK_S, **secure,
    )  # fmt: skip
    return connection


_of_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[SentinelUrl, Sentinels]]" = (
    weakref.WeakKeyDictionary()
)


def sentinels_of(url: SentinelUrl) -> Sentinels:
    """Return what the running event loop knows of these Sentinels."""
    known = _of_loop.setdefault(asyncio.get_running_loop(), {})
    if url not in known:
        known[url] = Sentinels(url)
    return known[url]


def address_of(connection: Any) -> Address:
    """Return the address that a connection leads to."""
    return connection.host, connection.port


class _NamedBySentinels(PrimaryConnection):
    """A connection to the primary that Sentinels name."""

    def __init__(self, *, sentinel_url: SentinelUrl, **options: Any) -> None:
        super().__init__(**options)
        self._sentinel_url = sentinel_url

    async def connect(self) -> None:
        """Connect, log in, and check that the server is the primary.

        Raises:
            RedisError: there is no primary, or none yet.
        """
        if self.is_connected:
            return
        parent: Any = super()  # redis-py does not annotate this method
        sentinels = sentinels_of(self._sentinel_url)
        self.host, self.port = await sentinels.primary()
        try:
            await parent.connect()
        except BaseException:
            sentinels.doubt((self.host, self.port))
            raise
        sentinels.opened(self)


class _SentinelTcp(_NamedBySentinels, TcpConnection):
    pass


class _SentinelTls(_NamedBySentinels, TlsConnection):
    pass


SENTINEL_KIND: Final[dict[type[AbstractConnection], type[PrimaryConnection]]] = {
    Connection: _SentinelTcp,
    SSLConnection: _SentinelTls,
}
