"""Runs the plain functions of a product in threads, so that they cannot hold up the event loop or each other.

The threads are daemons and are never joined. So a function that hangs blocks only its own thread: neither the exit of
the process nor another turn waits for it. A call that is given up (cancelled, or timed out) makes room for another call
at once. Its thread is used again when the function returns, if it ever does.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from turnwire.worker.turn.given_up import GivenUp, given_up

T = TypeVar("T")

DEFAULT_LIMIT: Final = 100  # as many calls at a time as a worker has slots
Delivery = Callable[[], None]
Job = Callable[[], Delivery]  # does the work, and returns the function that delivers the outcome to the caller


class ProductThreads:
    """Runs at most `limit` functions at a time, each in a thread. Further callers wait in order.

    Attributes:
        limit: how many calls may run at a time. Calls that were given up do not count.
        given_up: counts the calls that were given up and still run.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT, given_up: GivenUp = given_up) -> None:
        self.limit = limit
        self.given_up = given_up
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: deque[SimpleQueue[Job]] = deque()  # appended by threads, popped by the loop: both are atomic

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call the function in a thread, in a copy of the caller's context.

        Raises:
            Raised: the function raised. Its `error` is the exception, which may be SystemExit, KeyboardInterrupt or
                StopIteration; asyncio's futures cannot hold these.
        """
        await self._room()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        context = copy_context()

        def land(outcome: tuple[Any, BaseException | None]) -> None:
            if done.done():
                self.given_up.thread_returned()
            else:
                done.set_result(outcome)

        def job() -> Delivery:
            outcome: tuple[Any, BaseException | None]
            try:
                outcome = (context.run(function, *args), None)
            except BaseException as error:  # noqa: BLE001 - `run` raises it again
                outcome = (None, error)

            def deliver() -> None:
                with suppress(RuntimeError):  # raised if the loop is closed, where nobody waits any more
                    loop.call_soon_threadsafe(land, outcome)

            return deliver

        self._hand_over(job)
        try:
            result, error = await done
        except asyncio.CancelledError:
            self.given_up.add_thread(getattr(function, "__qualname__", type(function).__name__))
            raise
        finally:
            self._leave()
        if error is not None:
            raise Raised(error)
        return result  # type: ignore[no-any-return]

    async def _room(self) -> None:
        if self._running < self.limit:
            self._running += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # the place was given to this caller while the caller was being cancelled
                self._leave()
            raise

    def _leave(self) -> None:
        """Give the place to the caller that has waited longest; without one, the place is free."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._running -= 1

    def _hand_over(self, job: Job) -> None:
        try:
            jobs = self._idle.pop()
        except IndexError:
            jobs = SimpleQueue()
            threading.Thread(target=self._work, args=(jobs,), name="product", daemon=True).start()
        jobs.put(job)

    def _work(self, jobs: "SimpleQueue[Job]") -> None:
        while True:
            deliver = jobs.get()()
            self._idle.append(jobs)  # before the delivery, so that the caller's next call finds this thread idle
            deliver()


class Raised(Exception):
    """A function raised `error` in a thread."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


product_threads = ProductThreads()
