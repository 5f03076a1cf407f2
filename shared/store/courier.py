"""Sends script calls to Redis. Calls that are made during one round trip travel together in the next one.

    send(a) ──► round trip 1: a ─────────► Redis
    send(b) ──┐                              │
    send(c) ──┤ they wait for the end of 1 ◄─┘ reply to a
    send(d) ──┘
              └► round trip 2: b, c, d ──► Redis ──► replies to b, c and d

So a single call leaves at once, and a burst of a thousand calls costs a few round trips on one connection. A caller
that is cancelled does not break the connection, because the courier reads the reply in its place.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import RedisError

from turnwire.shared.errors import StoreUnavailable, UnstorableValue
from turnwire.shared.metrics import counter, histogram
from turnwire.shared.store.connection import with_lineage

MAX_INT: Final = 2**63 - 1  # the largest integer of Redis
LONGEST_WAIT_MS: Final = 1000  # for replicas
MAX_CALLS: Final = 200  # one round trip carries at most so many calls, so that Redis can serve others in between
PAUSES_S: Final = (0.05, 0.1, 0.2)  # before calls are sent again after their connection broke

_ROUND_TRIPS: Final = histogram("turnwire_redis_round_trip_seconds")
_COMMANDS: Final = counter("turnwire_redis_commands_total")
_FAILURES: Final = counter("turnwire_redis_failures_total")


class Command(NamedTuple):
    """A command in the form in which Redis reads it; `repeat` and `lineage` are those of `Courier.send`."""

    packed: bytes
    repeat: bool
    lineage: bool
    reply: "asyncio.Future[Any]"


class Courier:
    """Sends the commands of one client. If a round trip fails, all its commands fail; else each gets its own reply.

    `replicas`: after each round trip, wait until so many replicas have its writes. If they do not, its commands fail
    with StoreUnavailable, although they have run.
    """

    def __init__(self, redis: Redis, timeout_s: float, *, replicas: int = 0) -> None:
        self._pool: Any = redis.connection_pool  # redis-py's own annotations do not pass a strict checker
        self._timeout_s = timeout_s
        self._replicas = replicas
        self._wait = _pack(("WAIT", replicas, min(LONGEST_WAIT_MS, int(timeout_s * 500)))) if replicas else b""
        self._waiting: list[Command] = []
        self._flight: asyncio.Task[None] | None = None

    def send(
        self, *command: str | bytes | int, repeat: bool = True, lineage: bool = False, trusted: int = 0
    ) -> "asyncio.Future[Any]":
        """Queue a command; await its reply.

        Args:
            command: its words.
            repeat: if the connection breaks, send it again, three times at most.
            lineage: one of the words is LINEAGE. It becomes the lineage of the server that the command is sent to.
            trusted: so many of its first words need not be checked, because none of them is a number from outside.

        Raises (when awaited):
            RedisError, OSError: Redis answered with an error, or the connection broke. The command may have run.
            TimeoutError: Redis did not answer within the time limit. The command may have run.
            UnstorableValue: an argument cannot be sent. Other calls are not affected.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        try:
            packed = _pack(command, trusted)
        except (ValueError, TypeError) as error:
            future.set_exception(UnstorableValue(f"a value cannot be stored: {type(error).__name__}"))
            future.exception()  # mark it as seen: a caller may stop before it has looked at all its calls
            return future
        self._waiting.append(Command(packed, repeat, lineage, future))
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
            if self._waiting:  # this task failed, but the calls that still wait must not fail with it
                self._flight = asyncio.get_running_loop().create_task(self._fly(), name="courier")

    async def _deliver(self, batch: list[Command]) -> None:
        """Send a batch. If the connection breaks, send those calls again that may be repeated."""
        for pause_s in (*PAUSES_S, None):
            try:
                replies = await self._round_trip(batch)
            except TimeoutError as error:  # Redis hangs, so the calls that wait behind these fail now, too
                _FAILURES.add()
                behind, self._waiting = self._waiting, []
                _land(batch + behind, [error] * (len(batch) + len(behind)))
                return
            except (RedisError, OSError) as error:
                _FAILURES.add()
                lost = batch if pause_s is None else [command for command in batch if not command.repeat]
                _land(lost, [error] * len(lost))
                batch = [command for command in batch if not command.reply.done()]
            except asyncio.CancelledError:  # the process ends
                for command in batch:
                    command.reply.cancel()
                raise
            except Exception as error:  # noqa: BLE001 - a defect of ours: every caller gets the error
                _land(batch, [error] * len(batch))
                return
            else:
                _land(batch, replies)
                return
            if not batch or pause_s is None:
                return
            await asyncio.sleep(pause_s)

    async def _round_trip(self, batch: list[Command]) -> list[Any]:
        async with asyncio.timeout(self._timeout_s):
            connection = await self._pool.get_connection()
            began_s = time.perf_counter()
            try:
                replies = await self._exchange(connection, batch)
            except BaseException:
                await connection.disconnect(nowait=True)  # replies may still come, and the next user must not read them
                raise
            else:
                _ROUND_TRIPS.observe(time.perf_counter() - began_s)
                _COMMANDS.add(amount=len(batch))
                return replies
            finally:
                await self._pool.release(connection)

    async def _exchange(self, connection: Any, batch: list[Command]) -> list[Any]:
        """Do what a pipeline of redis-py does. That one packs every argument in Python, a third of its cost."""
        packed = [with_lineage(command.packed, connection) if command.lineage else command.packed for command in batch]
        count = len(batch) + bool(self._replicas)
        replies: list[Any] = await connection.exchange(b"".join(packed) + self._wait, count)
        if self._replicas and replies.pop() < self._replicas:
            return [reply if isinstance(reply, Exception) else _not_replicated() for reply in replies]
        return replies


def _not_replicated() -> StoreUnavailable:
    return StoreUnavailable("too few replicas have the write")


_packed_by_hiredis: Callable[[Any], bytes] = pack_command  # its own annotation allows only commands of one word


def _pack(command: tuple[str | bytes | int, ...], trusted: int = 0) -> bytes:
    """Return the command in the form in which Redis reads it. `trusted`: see `Courier.send`.

    Raises:
        ValueError, TypeError: an argument cannot be sent. For a number that is too long, hiredis would end the process.
    """
    for argument in command[trusted:]:
        if type(argument) is int and not -MAX_INT <= argument <= MAX_INT:
            raise ValueError("a number is too large")
    return _packed_by_hiredis(command)


def _land(batch: list[Command], replies: list[Any]) -> None:
    for command, reply in zip(batch, replies, strict=True):
        if command.reply.done():  # its caller was cancelled
            continue
        if isinstance(reply, Exception):
            command.reply.set_exception(reply)
            command.reply.exception()  # mark it as seen: a caller may stop before it has looked at all its calls
        else:
            command.reply.set_result(reply)
