"""The jobs that a worker has claimed: the dispatcher adds and removes them, the heartbeat's thread extends them.

A claim must not be extended after its job was given up. Somebody may have enqueued the job again by then, and the late
heartbeat would hide it for the time of a lease. So whoever gives up a job first waits for a heartbeat that names it.
"""

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager


class Claims:
    """A set of job ids that two threads use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._extending: frozenset[str] = frozenset()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def add(self, job_id: str) -> None:
        """Let heartbeats extend this claim from now on."""
        with self._lock:
            self._held.add(job_id)

    def discard(self, job_id: str) -> None:
        """Let no further heartbeat extend this claim."""
        with self._lock:
            self._held.discard(job_id)

    async def release(self, job_id: str) -> None:
        """Let no further heartbeat extend this claim, and wait for one that names it and is under way."""
        self.discard(job_id)
        while True:
            with self._lock:
                if job_id not in self._extending:
                    return
                answered = asyncio.Event()
                self._waiting.append((asyncio.get_running_loop(), answered))
            await answered.wait()

    @contextmanager
    def extending(self) -> Generator[list[str]]:
        """Yield the claims that a heartbeat extends. It is under way inside the `with` block, in the pulse's thread."""
        with self._lock:
            self._extending = frozenset(self._held)
        try:
            yield list(self._extending)
        finally:
            with self._lock:
                self._extending = frozenset()
                waiting, self._waiting = self._waiting, []
            for loop, answered in waiting:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(answered.set)
