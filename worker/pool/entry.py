"""The entry of a worker in the list of workers, `turnwire:workers`. Each heartbeat writes it anew."""

import os
import socket
from collections.abc import Callable

import msgspec
from arq.utils import timestamp_ms

from turnwire import __version__


class WorkerEntry(msgspec.Struct, frozen=True):
    """The entry, which is stored as JSON."""

    host: str
    pid: int
    version: str
    started_at: int  # ms, by the clock of the worker's host
    heartbeat: int  # counts up, so an entry that has changed is a sign of life
    at: int  # ms, by the clock of the worker's host
    running: int
    capacity: int
    server: str  # run id of the Redis process that the connection leads to which stands for this process; "": none


_decoder = msgspec.json.Decoder(WorkerEntry)


def read_entry(raw: bytes) -> WorkerEntry | None:
    """Read an entry. Returns None for one that another version has written and this one cannot read."""
    try:
        return _decoder.decode(raw)
    except msgspec.MsgspecError:
        return None


class OwnEntry:
    """Makes the entries of this worker. `running` tells how many jobs it runs; `capacity` is the most it may run."""

    def __init__(self, capacity: int, running: Callable[[], int]) -> None:
        self._capacity = capacity
        self._running = running
        self._started_at_ms = timestamp_ms()
        self._beats = 0

    def next(self, server: str) -> bytes:
        """Return the entry for the next heartbeat. Called in the pulse's thread."""
        self._beats += 1
        entry = WorkerEntry(
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            started_at=self._started_at_ms,
            heartbeat=self._beats,
            at=timestamp_ms(),
            running=self._running(),
            capacity=self._capacity,
            server=server,
        )
        return msgspec.json.encode(entry)
