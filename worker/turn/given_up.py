"""Counts the calls of a product's code that were given up and still run: in tasks that swallow every cancellation, and
in threads, which nobody can interrupt.

Nothing waits for them: not their turn, not another one, not the exit of the process. But each of them keeps its memory,
and only a new process gives that back. So a worker that has very many of them stops in order; see TurnWorker.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

logger = logging.getLogger(__name__)

PER_SLOT: Final = 4  # a worker bears so many of them for each of its slots


def _ignore() -> None:
    """Does nothing: the default for `on_too_many`."""


class GivenUp:
    """The calls of one process. All methods are for the event loop.

    Attributes:
        limit: how many of them a worker bears.
        on_too_many: called once, when there are more.
    """

    def __init__(self) -> None:
        self.limit = 100 * PER_SLOT
        self.on_too_many: Callable[[], None] = _ignore
        self._tasks: set[asyncio.Task[Any]] = set()
        self._threads = 0
        self._told = False

    @property
    def count(self) -> int:
        """How many still run."""
        return len(self._tasks) + self._threads

    def add_task(self, task: "asyncio.Task[Any]") -> None:
        """Count a task that has swallowed its cancellations, until it ends."""
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        self._added(f"{task.get_name()}, which swallows its cancellations")

    def add_thread(self, name: str) -> None:
        """Count a plain function that runs on in its thread, until `thread_returned`."""
        self._threads += 1
        self._added(f"{name}, which still runs in its thread")

    def thread_returned(self) -> None:
        """Such a function has returned."""
        self._threads -= 1

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # asyncio would report an exception that nobody has looked at

    def _added(self, what: str) -> None:
        logger.warning("gave up on %s (%d such calls)", what, self.count)
        if self.count > self.limit and not self._told:
            self._told = True
            logger.error("more than %d calls that were given up still run: this worker has to be replaced", self.limit)
            self.on_too_many()


given_up = GivenUp()
