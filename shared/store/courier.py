"""Carries script calls to Redis: what gathers while one round trip is in flight leaves together in the next.

So a lone call leaves at once, a burst of a thousand calls costs a few round trips on one connection, and a caller that
is cancelled takes no connection with it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from turnwire.shared.errors import UnstorableValue

MAX_INT_BITS: Final = 64  # Redis counts with no more
MAX_CALLS: Final = 200  # in one round trip: Redis serves others in between
PAUSES_S: Final = (0.05, 0.1, 0.2)  # before a broken connection's calls are sent again


class Call(NamedTuple):
    """A command on its way, as Redis reads it. `repeat`: it may be sent again when its reply was lost."""

    packed: bytes
    repeat: bool
    reply: "asyncio.Future[Any]"


class Courier:
    """One client's calls. Everything that waits shares the fate of its round trip, but for the replies."""

    def __init__(self, redis: Redis, timeout_s: float) -> None:
        self._pool: Any = redis.connection_pool  # redis-py's own annotations do not pass a strict checker
        self._timeout_s = timeout_s
        self._waiting: list[Call] = []
        self._flight: asyncio.Task[None] | None = None

    def send(self, *command: str | bytes | int, repeat: bool = True) -> "asyncio.Future[Any]":
        """Queue a command; await its reply. `repeat`: if the connection breaks, send it again, three times at most.

        Raises (when awaited):
            RedisError, OSError: what Redis answered, or that it did not; the command may have run.
            TimeoutError: no answer within the time limit.
            UnstorableValue: an argument cannot be sent; it was kept from the commands that travel with this one.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        try:
            packed = _pack(command)
        except (ValueError, TypeError) as error:
            future.set_exception(UnstorableValue(f"a value cannot be stored: {type(error).__name__}"))
            future.exception()  # seen: a caller that stops waiting for several need not look at each
            return future
        self._waiting.append(Call(packed, repeat, future))
        if self._flight is None:
            self._flight = loop.create_task(self._fly(), name="courier")
        return future

    async def _fly(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:MAX_CALLS]
                del self._waiting[:MAX_CALLS]
                await self._deliver(batch)
        finally:
            self._flight = None
            if self._waiting:  # the flight failed: what waits behind it does not share its fate
                self._flight = asyncio.get_running_loop().create_task(self._fly(), name="courier")

    async def _deliver(self, batch: list[Call]) -> None:
        """Send a batch, and what may be repeated of it again while the connection breaks."""
        for pause_s in (*PAUSES_S, None):
            try:
                replies = await self._round_trip(batch)
            except TimeoutError as error:  # a Redis that hangs: those who wait behind need not wait as long again
                behind, self._waiting = self._waiting, []
                _land(batch + behind, [error] * (len(batch) + len(behind)))
                return
            except (RedisError, OSError) as error:
                lost = batch if pause_s is None else [call for call in batch if not call.repeat]
                _land(lost, [error] * len(lost))
                batch = [call for call in batch if not call.reply.done()]
            except asyncio.CancelledError:  # the process ends
                for call in batch:
                    call.reply.cancel()
                raise
            except Exception as error:  # noqa: BLE001 - a defect: each caller hears of it, and none is cancelled
                _land(batch, [error] * len(batch))
                return
            else:
                _land(batch, replies)
                return
            if not batch or pause_s is None:
                return
            await asyncio.sleep(pause_s)

    async def _round_trip(self, batch: list[Call]) -> list[Any]:
        async with asyncio.timeout(self._timeout_s):
            connection = await self._pool.get_connection()
            try:
                return await _exchange(connection, batch)
            except BaseException:
                await connection.disconnect(nowait=True)  # what is still to come is nobody else's answer
                raise
            finally:
                await self._pool.release(connection)


async def _exchange(connection: Any, batch: list[Call]) -> list[Any]:
    """What redis-py's pipeline does; but that packs each argument of each command in Python, a third of its cost."""
    await connection.send_packed_command(b"".join([call.packed for call in batch]), check_health=False)
    replies: list[Any] = []
    for _ in batch:
        try:
            replies.append(await connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies


_packed_by_hiredis: Callable[[Any], bytes] = pack_command  # its own annotation knows only commands of one word


def _pack(command: tuple[str | bytes | int, ...]) -> bytes:
    """The command as Redis reads it.

    Raises:
        ValueError, TypeError: an argument has no form in it. hiredis ends the process for a number that is too long.
    """
    for argument in command:
        if type(argument) is int and argument.bit_length() > MAX_INT_BITS:
            raise ValueError("a number is too large")
    return _packed_by_hiredis(command)


def _land(batch: list[Call], replies: list[Any]) -> None:
    for call, reply in zip(batch, replies, strict=True):
        if call.reply.done():  # its caller was cancelled
            continue
        if isinstance(reply, Exception):
            call.reply.set_exception(reply)
            call.reply.exception()  # seen: a caller that stops waiting for several need not look at each
        else:
            call.reply.set_result(reply)
