"""Leads the events of an agent, which runs in a task of its own, to the producer that yields them."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any, Final

_END: Final = None
_MOST_WAITING: Final = 64  # the agent waits while the producer has not yielded so many events


class Outlet:
    """A bounded queue of events, with a record of those that belong to the current model request."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_MOST_WAITING)
        self._record: list[dict[str, Any]] | None = None

    @contextmanager
    def recording(self) -> Generator[list[dict[str, Any]]]:
        """Record the events that are put inside the block."""
        self._record = []
        try:
            yield self._record
        finally:
            self._record = None

    async def put(self, event: dict[str, Any]) -> None:
        """Pass an event to the producer, and wait if it is behind."""
        if self._record is not None:
            self._record.append(event)
        await self._queue.put(event)

    async def drained(self) -> None:
        """Wait until the producer has yielded every event, so that a checkpoint written now covers them."""
        await self._queue.join()

    async def events_of(self, agent: "asyncio.Task[Any]") -> AsyncGenerator[dict[str, Any]]:
        """Yield the events until the task ends. If the caller stops before, the task is cancelled and waited for.

        Raises:
            Exception: whatever the task raises.
        """
        end = asyncio.create_task(self._end_with(agent))
        try:
            while (event := await self._queue.get()) is not _END:
                yield event
                self._queue.task_done()
            await agent
        finally:
            agent.cancel()  # it does nothing if the agent has ended
            await asyncio.wait({agent, end})

    async def _end_with(self, agent: "asyncio.Task[Any]") -> None:
        await asyncio.wait({agent})
        if not agent.cancelled() and agent.exception() is None:
            await self._queue.put(_END)
            return
        while self._queue.full():  # nobody may read it any more
            self._queue.get_nowait()
        self._queue.put_nowait(_END)
