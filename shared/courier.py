"""Carries script calls to Redis: what gathers while one round trip is in flight leaves together in the next.

So a lone call leaves at once, a burst of a thousand calls costs a few round trips on one connection, and a caller that
is cancelled takes no connection with it.
"""

import asyncio
from typing import Any, Final, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import RedisError

MAX_CALLS: Final = 200  # in one round trip: Redis serves others in between

Command: TypeAlias = tuple[str | bytes | int, ...]


class Courier:
    """One client's calls. Everything that waits shares the fate of its round trip, but for the replies."""

    def __init__(self, redis: Redis, timeout_s: float) -> None:
        self._redis: Any = redis
        self._timeout_s = timeout_s
        self._waiting: list[tuple[Command, asyncio.Future[Any]]] = []
        self._flight: asyncio.Task[None] | None = None

    def send(self, *command: str | bytes | int) -> "asyncio.Future[Any]":
        """Queue a command; await its reply.

        Raises (when awaited):
            RedisError, OSError: what Redis answered, or that it did not; the command may have run.
            TimeoutError: no answer within the time limit.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((command, future))
        if self._flight is None:
            self._flight = loop.create_task(self._fly(), name="courier")
        return future

    async def _fly(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:MAX_CALLS]
                del self._waiting[:MAX_CALLS]
                await self._round_trip(batch)
        finally:
            self._flight = None

    async def _round_trip(self, batch: list[tuple[Command, "asyncio.Future[Any]"]]) -> None:
        replies: list[Any]
        try:
            async with asyncio.timeout(self._timeout_s), self._redis.pipeline(transaction=False) as pipe:
                for command, _ in batch:
                    pipe.execute_command(*command)
                replies = await pipe.execute(raise_on_error=False)
        except TimeoutError as error:  # a Redis that hangs answers nobody: those who wait need not wait as long again
            batch, self._waiting = batch + self._waiting, []
            replies = [error] * len(batch)
        except (RedisError, OSError) as error:
            replies = [error] * len(batch)
        except BaseException:  # the process ends
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():  # its caller was cancelled
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
                future.exception()  # seen: a caller that stops waiting for several need not look at each
            else:
                future.set_result(reply)
