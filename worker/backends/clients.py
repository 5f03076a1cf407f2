"""The HTTP client of a backend. It is replaced when a cancelled call may have left a connection behind in its pool."""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from typing import Final

import httpx

from turnwire.shared.errors import SettingsError
from turnwire.worker.turn.limits import CLOSE_S

logger = logging.getLogger(__name__)

# RetryPolicy has one limit up to the headers and another for a silence. httpx has a single `read` timeout for both, so
# that is off. Connecting never takes longer than 10 s.
TIMEOUTS: Final = httpx.Timeout(connect=10.0, write=30.0, read=None, pool=None)
# Open connections have no limit: the worker limits its turns, and a turn must not wait for the answer of another one.
_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)


@cache
def _tls(certificates_file: str | None, certificates_folder: str | None) -> ssl.SSLContext:  # noqa: ARG001
    """Read the certificates, which takes longer than making a client. httpx finds them by these two variables."""
    return httpx.create_ssl_context()


class Loan:
    """One call's use of a client. The call marks it as `sound` when it has certainly left nothing behind."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.sound = False


class Clients:
    """Lends out one client at a time.

    The first client is made at once, so that a proxy or a file of certificates that cannot be used is found at start.

    If a call is cancelled at certain moments, its connection stays open in httpcore's pool for ever. With httpcore
    1.0.9 this happens while the request takes its connection, and while the response gives it back. So after a call
    that did not end soundly, new calls get a new client, and the old one is closed when its last call has ended.
    A `given` client is neither replaced nor closed.

    Raises:
        SettingsError: the environment names a proxy, or certificates, that cannot be used.
    """

    def __init__(self, given: httpx.AsyncClient | None) -> None:
        self._given = given
        self._current: httpx.AsyncClient | None = None
        self._calls: dict[httpx.AsyncClient, int] = {}
        self._closing: set[asyncio.Task[None]] = set()
        if given is None:
            self._current = self._new()

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Loan]:
        """Lend a client for one call."""
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
            self._closing.difference_update(closing)  # their callbacks may not have run yet
            for task in late:
                task.cancel()
            for task in done:
                if not task.cancelled() and (error := task.exception()) is not None:
                    logger.warning("closing an HTTP client failed: %s: %s", type(error).__name__, error)

    @staticmethod
    def _new() -> httpx.AsyncClient:
        try:
            tls = _tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
            return httpx.AsyncClient(limits=_LIMITS, timeout=TIMEOUTS, verify=tls)
        except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
            what = "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
            raise SettingsError(
                f"no HTTP client can be made for the model server ({type(error).__name__}): {what}"
            ) from error

    def _close(self, client: httpx.AsyncClient) -> None:
        # In a task of its own, because the last call may be in the middle of its cancellation.
        task = asyncio.get_running_loop().create_task(client.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
