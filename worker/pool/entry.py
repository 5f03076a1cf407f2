"""Makes the entry of this worker in the list of workers. Each heartbeat writes it anew."""

import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from arq.utils import timestamp_ms

from turnwire import __version__
from turnwire.shared.metrics import counter
from turnwire.shared.worker_entry import WorkerEntry

_EVENTS: Final = counter("turnwire_events_appended_total")


class OwnEntry:
    """Makes the entries of this worker.

    Args:
        capacity: how many turns it may run at most.
        running: tells how many jobs it runs.
        is_draining: tells whether it has been asked to stop.
        reserved, projects, pools: as in WorkerEntry.
    """

    def __init__(
        self,
        capacity: int,
        running: Callable[[], int],
        is_draining: Callable[[], bool] = lambda: False,
        *,
        reserved: int = 0,
        projects: Sequence[str] | None = None,
        pools: Sequence[str] = (),
    ) -> None:
        self._running = running
        self._is_draining = is_draining
        self._beats = 0
        self._entry = WorkerEntry(
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            started_at=timestamp_ms(),
            heartbeat=0,
            at=0,
            running=0,
            capacity=capacity,
            server="",
            reserved=reserved,
            projects=None if projects is None else list(projects),
            pools=list(pools),
        )

    def next(self, server: str) -> bytes:
        """Return the entry for the next heartbeat. Called in the pulse's thread."""
        self._beats += 1
        entry = msgspec.structs.replace(
            self._entry,
            heartbeat=self._beats,
            at=timestamp_ms(),
            running=self._running(),
            server=server,
            is_draining=self._is_draining(),
            events=int(_EVENTS.values[()]),
        )
        return msgspec.json.encode(entry)
