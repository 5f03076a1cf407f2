"""Connections that leave a Redis server which is not the primary.

After a failover the old primary often stays up as a replica, while its address, or a proxy, points to the new primary.
Connections to the old one stay open. They would answer reads with old data, and every write with an error, until the
process is restarted. So a connection asks for the server's role when it is made, and a pool asks again every two
seconds before it hands one out. A server that turns out to be a replica, or that is still loading, is left: this
connection and all others of the same event loop to the same address are closed, and their users connect again.

The same answer names the lineage of the server's data. A failover and a restart begin a new one, which may lack the
last writes of the one before.
"""

import asyncio
import logging
import re
import secrets
import threading
import weakref
from typing import Any, Final

from redis.asyncio import (
    BlockingConnectionPool,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ReadOnlyError, RedisError, ResponseError

from turnwire.shared.store.unreachable import say_why

logger = logging.getLogger(__name__)

ROLE_AGE_S: Final = 2.0  # a pool asks a connection for its server's role again after this time

LINEAGE: Final = secrets.token_hex(20)  # stands in a command for the lineage of the server that it is sent to
UNKNOWN_LINEAGE: Final = b"0" * 40  # of a server that the user may not ask for it

_REPLID = re.compile(rb"master_replid:([0-9a-f]{40})\r")
# Errors with which a server that must be left refuses a command. In the errors of a script, Redis 6.2 writes a dash
# before the word. redis-py turns an error READONLY that comes from no script into a ReadOnlyError without the word.
_WRONG_SERVER = re.compile(r"(?:^|-)(?:READONLY|MASTERDOWN|UNBLOCKED)\b")
_of_thread = threading.local()  # `connections`: those that are open; a thread has one event loop at a time


class WrongServer(RedisConnectionError):
    """The server is not the primary, at least not now. The connection is closed."""


class PrimaryConnection(AbstractConnection):
    """A connection that is closed as soon as its server turns out not to be the primary."""

    lineage = UNKNOWN_LINEAGE  # as it was ROLE_AGE_S ago, at most; a server that is demoted meanwhile is left
    _role_until_s = 0.0
    _loop: asyncio.AbstractEventLoop | None = None

    async def connect(self) -> None:
        """Connect, log in, and check that the server is the primary. The log says why this fails.

        Raises:
            RedisError: there is no primary at this address, or it does not let us in.
        """
        parent: Any = super()  # redis-py does not annotate this method
        try:
            await parent.connect()
        except WrongServer:
            raise  # it has said so
        except (RedisError, OSError) as error:
            say_why(error)
            raise

    async def on_connect(self) -> None:
        """Log in, then ask for the server's role.

        Raises:
            WrongServer: the server is a replica.
        """
        await super().on_connect()
        self._loop = asyncio.get_running_loop()
        await self._ask_role()
        _open_connections().add(self)

    async def check_role(self) -> None:
        """Ask for the server's role, unless it is known from a moment ago.

        Raises:
            WrongServer: the server is a replica.
        """
        if asyncio.get_running_loop().time() >= self._role_until_s:
            await self._ask_role()

    async def _ask_role(self) -> None:
        try:
            await self.send_command("INFO", "replication", check_health=False)
            info = await self.read_response()
        except NoPermissionError:  # then only the answers to writes can tell
            info = b""
        if b"role:slave" in info:
            raise self._wrong("it is a replica")
        if lineage := lineage_of(info):
            self.lineage = lineage.encode()
        self._role_until_s = asyncio.get_running_loop().time() + ROLE_AGE_S

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send a command.

        Raises:
            RedisError: the connection broke. uvloop says RuntimeError when the other side has reset it.
        """
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            await self.disconnect(nowait=True)
            raise RedisConnectionError("the connection was closed") from error

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read a reply.

        Raises:
            WrongServer: the reply says that the server is not the primary.
        """
        try:
            return await super().read_response(*args, **kwargs)
        except ResponseError as error:
            self._check(error)
            raise

    async def exchange(self, packed: bytes, replies: int) -> list[Any]:
        """Send packed commands and read so many replies. The caller limits the time, and disconnects after an error.

        This is what send_packed_command and read_response do, without their cost for every single reply.

        Returns: the replies. A ResponseError stands in place of the reply to a command that failed.

        Raises:
            WrongServer: a reply says that the server is not the primary.
            RedisError: the connection broke.
        """
        writer = self._writer
        parser: Any = self._parser  # redis-py declares only a base class, which reads no replies
        if writer is None:
            raise RedisConnectionError("the connection was closed")
        try:
            writer.write(packed)
            await writer.drain()
            read = [await parser.read_response() for _ in range(replies)]
        except (OSError, RuntimeError) as error:  # uvloop says RuntimeError when the other side has reset it
            raise RedisConnectionError("the connection was closed") from error
        for reply in read:
            if isinstance(reply, ResponseError):
                self._check(reply)
        return read

    def _check(self, error: ResponseError) -> None:
        if isinstance(error, ReadOnlyError) or _WRONG_SERVER.search(str(error)):
            raise self._wrong("it refuses a command") from error

    @property
    def is_at_rest(self) -> bool:
        """Whether the connection is open, and nothing has arrived that nobody asked for."""
        reader, writer = self._reader, self._writer
        if reader is None or writer is None or writer.transport.is_closing() or reader.exception() is not None:
            return False
        unread: bytearray = reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001 - no public name tells this
        parser: Any = self._parser
        parsed_in_part: bool = parser._reader.has_data()  # noqa: SLF001 - nor this: a reply may have come with another
        return not (unread or parsed_in_part or reader.at_eof())

    def _wrong(self, why: str) -> WrongServer:
        """Close every connection of this loop to the server."""
        others = [
            connection for connection in list(_open_connections()) if connection.leads_where(self._loop, self._address)
        ]
        for connection in {self, *others}:
            connection.abort()
        # While a failover lasts, connections are tried again and again: only the first refusal is news.
        level = logging.WARNING if others else logging.DEBUG
        logger.log(level, "the Redis server is not the primary (%s): %d connections to it are closed", why, len(others))
        return WrongServer("the server is not the primary")

    @property
    def _address(self) -> str:
        return str(self._host_error())

    def leads_where(self, loop: asyncio.AbstractEventLoop | None, address: str) -> bool:
        """Return whether the connection is open in this loop, and to this address."""
        return self.is_connected and self._loop is loop and self._address == address

    def abort(self) -> None:
        """Close the connection at once. Whoever waits for a reply gets an error."""
        _open_connections().discard(self)
        if self._writer is not None:
            self._writer.transport.abort()


class TcpConnection(PrimaryConnection, Connection):
    """A PrimaryConnection over plain TCP."""


class TlsConnection(PrimaryConnection, SSLConnection):
    """Such a connection over TLS."""


class _SocketConnection(PrimaryConnection, UnixDomainSocketConnection):
    pass


PRIMARY_KIND: Final[dict[type[AbstractConnection], type[PrimaryConnection]]] = {
    Connection: TcpConnection,
    SSLConnection: TlsConnection,
    UnixDomainSocketConnection: _SocketConnection,
}


class PrimaryPool(BlockingConnectionPool):
    """A pool that hands out no connection to a server which has become a replica.

    While a connection is free and nobody waits for one, it takes no lock and sets no timer, as redis-py does each time.
    """

    _waiting = 0  # how many callers wait for a connection

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        """Return a connection, once there is one.

        Raises:
            RedisError: there is no primary at this address, or no connection was free in time.
        """
        if self._waiting or not self.can_get_connection():
            self._waiting += 1
            try:
                waited: AbstractConnection = await super().get_connection()
                return waited
            finally:
                self._waiting -= 1
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Give a connection back."""
        if self._waiting:
            await super().release(connection)
        else:
            await ConnectionPool.release(self, connection)

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect, or check the connection if it is open already.

        Raises:
            RedisError: there is no primary at this address.
        """
        # redis-py looks for unread bytes with a read that times out at once. That costs a turn of the event loop.
        if not (isinstance(connection, PrimaryConnection) and connection.is_at_rest):
            await super().ensure_connection(connection)
        if isinstance(connection, PrimaryConnection):
            await connection.check_role()


def lineage_of(info: bytes) -> str:
    """Return the lineage of a server's data, from its answer to INFO replication; empty if it names none."""
    found = _REPLID.search(info)
    return found[1].decode() if found else ""


def with_lineage(packed: bytes, connection: AbstractConnection) -> bytes:
    """Name the lineage of the connection's server in a packed command that holds LINEAGE."""
    lineage = connection.lineage if isinstance(connection, PrimaryConnection) else UNKNOWN_LINEAGE
    return packed.replace(LINEAGE.encode(), lineage)


def _open_connections() -> "weakref.WeakSet[PrimaryConnection]":
    connections: weakref.WeakSet[PrimaryConnection] | None = getattr(_of_thread, "connections", None)
    if connections is None:
        connections = _of_thread.connections = weakref.WeakSet()
    return connections
