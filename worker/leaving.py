"""Ends this process at the latest after a given time, whatever its product's code does.

At its end, Python waits for every task and for every thread that is not a daemon. So a product could hold the exit of a
worker that has given everything back: with a task that swallows its cancellation, with a hung `asyncio.to_thread`, or
with a function of `atexit`. And code that blocks the event loop lets the worker never hear of its SIGTERM.
"""

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue

logger = logging.getLogger(__name__)


class Leaving:
    """A thread that ends the process when its time is up. It waits until it is told so."""

    def __init__(self) -> None:
        self._told: SimpleQueue[tuple[float, int]] = SimpleQueue()  # a handler of a signal may put something into it
        threading.Thread(target=self._run, name="leaving", daemon=True).start()

    def within(self, limit_s: float, status: int) -> None:
        """End the process in `limit_s` seconds, unless it has ended by itself before.

        Said again, the earlier time and the later exit status count. May be called in a handler of a signal.
        """
        self._told.put((time.monotonic() + limit_s, status))

    def _run(self) -> None:
        at_s, status = self._told.get()
        while (left_s := at_s - time.monotonic()) > 0:
            with suppress(Empty):
                also_at_s, status = self._told.get(timeout=left_s)
                at_s = min(at_s, also_at_s)
        held = [thread.name for thread in threading.enumerate() if not thread.daemon]
        logger.error("this process should have ended by now, so it ends at once; threads: %s", ", ".join(held))
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(status)
