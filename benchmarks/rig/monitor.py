"""Counts the commands that a Redis server runs. MONITOR tells those of clients from those inside scripts."""

import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

READ_LIMIT_S = 5.0


class Monitor:
    """A context manager. Afterwards, `client` and `scripted` are the numbers of commands that were seen meanwhile.

    It slows the server down, so nothing is timed while it watches.
    """

    def __init__(self, redis_url: str) -> None:
        parts = urlsplit(redis_url)
        self.client = 0
        self.scripted = 0
        self._address = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._socket = socket.create_connection(self._address, timeout=READ_LIMIT_S)
        self._socket.sendall(b"MONITOR\r\n")
        self._lines = self._socket.makefile("rb")
        assert self._lines.readline() == b"+OK\r\n"
        self._socket.settimeout(None)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.create_connection(self._address, timeout=READ_LIMIT_S) as mark:
            mark.sendall(b"ECHO turnwire-bench-end\r\n")  # when this is seen, everything before it was seen, too
        self._reader.join(READ_LIMIT_S)
        self._socket.close()

    def _read(self) -> None:
        for line in self._lines:  # +1700000000.000000 [0 127.0.0.1:50000] "get" "key"   or   [0 lua] "get" "key"
            if b"turnwire-bench-end" in line:
                return
            if b"[" in line[:30]:  # a value may hold a line break: its rest is no command
                if b" lua]" in line[:40]:
                    self.scripted += 1
                else:
                    self.client += 1
