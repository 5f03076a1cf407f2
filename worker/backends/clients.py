"""The HTTP client of a backend, replaced when a cancelled call may have left a connection behind in its pool."""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from turnwire.worker.turn.limits import CLOSE_S

logger = logging.getLogger(__name__)

# The deadline to headers and the longest silence are ours (RetryPolicy): httpx has one `read` timeout for both.
# Connecting never takes longer than 10 s.
TIMEOUTS: Final = httpx.Timeout(connect=10.0, write=30.0, read=None, pool=None)
# No limit to open connections: the worker limits its turns, and a turn must not wait for another one's answer.
_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)


class Loan:
    """One call's use of a client. To be marked `sound` when the call is known to have left nothing behind."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.sound = False


class Clients:
    """Lends out one client at a time, made inside the running event loop.

    A call that is cancelled in certain moments leaves its connection in httpcore's pool, open and for ever (seen
    with httpcore 1.0.9: while the request takes its connection, and while the response gives it back). So after a
    call that did not end soundly, new calls get a new client; the old one is closed when its last call has ended.
    A `given` client is never replaced nor closed.
    """

    def __init__(self, given: httpx.AsyncClient | None) -> None:
        self._given = given
        self._current: httpx.AsyncClient | None = None
        self._calls: dict[httpx.AsyncClient, int] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = None  # reading the certificates takes longer than making a client

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Loan]:
        """A client for one call."""
        if self._given is not None:
            yield Loan(self._given)
            return
        client = self._current = self._current or self._new()
        self._calls[client] = self._calls.get(client, 0) + 1
        loan = Loan(client)
        try:
            yield loan
        finally:
            if not loan.sound and self._current is client:
                self._current = None
            self._calls[client] -= 1
            if not self._calls[client]:
                del self._calls[client]
                if self._current is not client:
                    self._close(client)

    async def aclose(self) -> None:
        """Close the current client and wait for those that are being closed, 5 s at most. May be called again."""
        client, self._current = self._current, None
        if client is not None and client not in self._calls:
            self._close(client)
        while closing := list(self._closing):
            done, late = await asyncio.wait(closing, timeout=CLOSE_S)
            self._closing.difference_update(closing)  # their callbacks may not have had their turn yet
            for task in late:
                task.cancel()
            for task in done:
                if not task.cancelled() and (error := task.exception()) is not None:
                    logger.warning("closing a client failed: %s: %s", type(error).__name__, error)

    def _new(self) -> httpx.AsyncClient:
        self._tls = self._tls or httpx.create_ssl_context()
        return httpx.AsyncClient(limits=_LIMITS, timeout=TIMEOUTS, verify=self._tls)

    def _close(self, client: httpx.AsyncClient) -> None:
        # A task of its own, as the call that was the last one may be in the middle of its cancellation.
        task = asyncio.get_running_loop().create_task(client.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
