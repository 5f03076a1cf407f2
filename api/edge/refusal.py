"""Answers a client whose request never reached the application, and ends its connection."""

import asyncio
import logging
import resource
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from turnwire.api.edge.problems import problem_response
from turnwire.shared.errors import TurnwireError

LINGER_S: Final = 1.0
LINGER_BYTES: Final = 1_048_576
LOG_EVERY_S: Final = 10.0
ALMOST_ALL: Final = 0.9

logger = logging.getLogger(__name__)


class Lingering:
    """Reads and discards for a short time whatever a refused client still sends, and then closes the connection.

    A socket that is closed with unread data is reset, and then the client might lose the answer.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left = LINGER_BYTES
        if transport.can_write_eof():
            transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, transport.close)

    def discard(self, size: int) -> None:
        """Note that the client sent `size` more bytes. If it sends too many, the connection is closed at once."""
        self._left -= size
        if self._left < 0:
            self._transport.close()


class Seldom:
    """Logs one line at once, and counts those of the next seconds: anybody may cause them, at any rate."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._unsaid = 0
        self._next_at_s = 0.0

    def say(self, text: str) -> None:
        """Log this line, or count it."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._next_at_s:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} others since the last line)" if self._unsaid else ""
        logger.log(self._level, "%s%s", text, more)
        self._unsaid, self._next_at_s = 0, now_s + LOG_EVERY_S


_refusals: Final = Seldom(logging.INFO)
_shortages: Final = Seldom(logging.WARNING)


def warn_of_shortage(transport: asyncio.Transport) -> None:
    """Say when the file descriptors of this process are about to be used up, because then nothing says so any more.

    The system gives the lowest free number to each new connection. When there is none, it closes the connection.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and transport.get_extra_info("socket").fileno() >= limit * ALMOST_ALL:
        _shortages.say(f"almost all of the {limit} file descriptors are in use: clients will be cut off (ulimit -n)")


def refuse(
    transport: asyncio.Transport, error: TurnwireError | None, client: str, headers: Iterable[tuple[bytes, bytes]]
) -> Lingering:  # fmt: skip
    """Answer with the problem document of `error`, or with nothing if it is None, and close the connection.

    `client`: its address, for the log. `headers`: of the answer, besides those of the problem.
    """
    _refusals.say(f"refused a request of {client}: {error or 'it sent nothing'}")
    if error is not None:
        response = problem_response(error)
        status = HTTPStatus(response.status_code)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
        lines += [b"%b: %b" % pair for pair in (*response.raw_headers, *headers)]
        transport.write(b"\r\n".join([*lines, b"connection: close", b"", bytes(response.body)]))
    return Lingering(transport)
