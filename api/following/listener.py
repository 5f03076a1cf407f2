"""The one pub/sub connection of this process. If it is lost, the listener connects again until that succeeds.

Channels come and go while messages are read. So one task reads, another writes, and nobody else uses the connection.
The worker's listener for cancels has one fixed channel, and is simpler for that reason.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from turnwire.shared.metrics import counter

PING_S: Final = 5.0
DEAD_S: Final = 12.0  # a connection that is silent for so long in spite of the pings is lost
CONNECT_S: Final = 3.0
MAX_BACKOFF_S: Final = 1.0
CHANNELS_PER_COMMAND: Final = 500

_LOST_SUBSCRIPTIONS: Final = counter("turnwire_subscriptions_lost_total")
_LOST = (RedisError, OSError, TimeoutError)
logger = logging.getLogger(__name__)


class Listener:
    """Calls `on_message(channel, payload)`, and `on_subscribed(channel)` when messages of a channel begin to arrive.

    `on_subscribed` may be called once too often: a channel that was left and joined again is confirmed twice.
    """

    def __init__(
        self, redis: Redis, on_message: Callable[[str, bytes], None], on_subscribed: Callable[[str], None]
    ) -> None:
        self._pool: Any = redis.connection_pool  # redis-py's own annotations do not pass a strict checker
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._wanted: set[str] = set()
        self._orders: list[tuple[str, list[str]]] = []
        self._ordered = asyncio.Event()

    def subscribe(self, channel: str) -> None:
        """Subscribe to a channel; `on_subscribed` is called for it now and after each reconnection."""
        self._wanted.add(channel)
        self._order("SUBSCRIBE", channel)

    def unsubscribe(self, channel: str) -> None:
        """Unsubscribe from a channel."""
        self._wanted.discard(channel)
        self._order("UNSUBSCRIBE", channel)

    def _order(self, verb: str, channel: str) -> None:
        if self._orders and self._orders[-1][0] == verb and len(self._orders[-1][1]) < CHANNELS_PER_COMMAND:
            self._orders[-1][1].append(channel)
        else:
            self._orders.append((verb, [channel]))
        self._ordered.set()

    async def run(self) -> None:
        """Listen until cancelled. A lost connection is replaced, with a capped back-off."""
        failures = 0
        while True:
            connection = self._pool.make_connection()
            lost: Exception | None = None
            try:
                async with asyncio.timeout(CONNECT_S):
                    await connection.connect()
                failures = 0
                self._start_over()
                await self._exchange(connection)
            except _LOST as error:
                lost = error
            finally:
                await connection.disconnect(nowait=True)
            if failures == 0:
                _LOST_SUBSCRIPTIONS.add()
                logger.warning("the subscription was lost, connecting again: %s: %s", type(lost).__name__, lost)
            await asyncio.sleep(min(MAX_BACKOFF_S, 0.05 * 2**failures))
            failures = min(failures + 1, 10)

    async def _exchange(self, connection: Any) -> None:
        """Read and write until the connection is lost, which raises.

        This is no TaskGroup: before Python 3.13, that one forgets a cancel if one of its tasks fails at the same time.
        """
        writing = asyncio.create_task(self._write(connection))
        writing.add_done_callback(lambda _: connection.abort())  # then there is nothing to read any more
        try:
            await self._read(connection)
        except _LOST:
            if writing.done():
                writing.result()  # raises what is a defect, and no loss
            raise
        finally:
            writing.cancel()
            await asyncio.wait({writing})

    def _start_over(self) -> None:
        """Subscribe to every channel again, because the connection is new."""
        self._orders = []
        for channel in self._wanted:
            self._order("SUBSCRIBE", channel)

    async def _write(self, connection: Any) -> None:
        with suppress(*_LOST):
            while True:
                orders, self._orders = self._orders, []
                self._ordered.clear()
                if orders:
                    await self._send(connection, [(verb, *channels) for verb, channels in orders])
                try:
                    async with asyncio.timeout(PING_S):
                        await self._ordered.wait()
                except TimeoutError:
                    await self._send(connection, [("PING",)])

    async def _send(self, connection: Any, commands: Iterable[tuple[str, ...]]) -> None:
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)

    async def _read(self, connection: Any) -> None:
        now = asyncio.get_running_loop().time
        async with asyncio.timeout(DEAD_S) as patience:
            while True:
                match await connection.read_response():
                    case [b"message", channel, payload]:
                        self._on_message(channel.decode(), payload)
                    case [b"subscribe", channel, _]:
                        self._on_subscribed(channel.decode())
                patience.reschedule(now() + DEAD_S)
