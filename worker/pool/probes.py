"""Answers /metrics, /healthz and /readyz of a worker, on a port of its own (TURNWIRE_METRICS_PORT).

It runs in the thread of the pulse, so that it also answers while product code blocks the event loop. One answer is sent
on each connection.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final, Literal

import msgspec

from turnwire.shared.exposition import Exposition
from turnwire.shared.settings import Settings
from turnwire.worker.products import StartupError

HEAD_BYTES: Final = 8192  # of a request, at most
HEAD_S: Final = 5.0  # the longest time until the request is there
MOST_CONNECTIONS: Final = 32  # at a time; others are closed at once
FRESH_LEASES: Final = 2  # the last heartbeat that Redis has taken must be younger than so many leases

logger = logging.getLogger(__name__)


class WorkerHealth(msgspec.Struct, frozen=True):
    """The answer of the probes.

    Attributes:
        status: `ok`; or what is wrong. `blocked`: product code holds the event loop for longer than TURNWIRE_BLOCKED_S.
            `no_redis`: Redis has taken no heartbeat for two leases. `draining`: the worker stops.
        heartbeat_age_s: since the last heartbeat that Redis has taken; null: it has taken none yet.
        loop_blocked_s: for how long the event loop has not answered.
        running_jobs, slots: how many jobs run here, and how many turns may.
    """

    status: Literal["ok", "blocked", "no_redis", "draining"]
    heartbeat_age_s: float | None
    loop_blocked_s: float
    running_jobs: int
    slots: int


class WorkerState(msgspec.Struct, frozen=True):
    """What the probes are told of the worker; see WorkerHealth."""

    heartbeat_age_s: float | None
    loop_blocked_s: float
    is_draining: bool
    running_jobs: int
    slots: int

    def health(self, settings: Settings) -> WorkerHealth:
        """Return the answer. Of several things that are wrong, it names the one that most needs an operator."""
        fresh_s = FRESH_LEASES * settings.lease_ms / 1000
        status: Literal["ok", "blocked", "no_redis", "draining"] = "ok"
        if self.loop_blocked_s >= settings.blocked_s:
            status = "blocked"
        elif self.heartbeat_age_s is None or self.heartbeat_age_s >= fresh_s:
            status = "no_redis"
        elif self.is_draining:
            status = "draining"
        age_s = None if self.heartbeat_age_s is None else round(self.heartbeat_age_s, 3)
        return WorkerHealth(status, age_s, round(self.loop_blocked_s, 3), self.running_jobs, self.slots)


class Probes:
    """The server. `state` is called in the thread of the pulse."""

    def __init__(self, settings: Settings, state: Callable[[], WorkerState], exposition: Exposition) -> None:
        self._settings = settings
        self._state = state
        self._exposition = exposition
        self._bound: socket.socket | None = None
        self._connections = 0

    def bind(self) -> int:
        """Take the port. Returns its number, which the system chooses if it is 0 in the settings.

        Raises:
            StartupError: the port is in use, or the address is none of this machine.
        """
        address = self._settings.metrics_host, self._settings.metrics_port
        try:
            self._bound = socket.create_server(address, family=_family(address[0]), backlog=MOST_CONNECTIONS)
        except OSError as error:
            raise StartupError(f"TURNWIRE_METRICS_PORT: cannot listen on {address[0]}:{address[1]}: {error}") from None
        port: int = self._bound.getsockname()[1]
        logger.info("metrics and probes on http://%s:%d", address[0], port)
        return port

    def close(self) -> None:
        """Give the port back."""
        if self._bound is not None:
            self._bound.close()

    async def run(self) -> None:
        """Answer until cancelled."""
        assert self._bound is not None
        server = await asyncio.start_server(self._connected, sock=self._bound.dup(), limit=HEAD_BYTES)
        async with server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MOST_CONNECTIONS:
                async with asyncio.timeout(HEAD_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client sends no request, or does not read its answer
        finally:
            self._connections -= 1
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        line, *fields = head.decode("latin-1").split("\r\n")
        method, _, rest = line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if method not in {"GET", "HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"", "text/plain")
        if _is_loopback(self._settings.metrics_host) and not _names_this_machine(headers.get("host", "")):
            return _response(HTTPStatus.MISDIRECTED_REQUEST, b"", "text/plain")  # a page whose name leads here
        answer = self._found(path, headers.get("accept", ""))
        return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else answer

    def _found(self, path: str, accept: str) -> bytes:
        if path == "/metrics":
            return _response(HTTPStatus.OK, *self._exposition.write(accept))
        if path not in {"/healthz", "/readyz"}:
            return _response(HTTPStatus.NOT_FOUND, b"", "text/plain")
        health = self._state().health(self._settings)
        # A restart helps a worker whose loop is blocked. It does not help while Redis is away: then the turns that run
        # here go on when it is back.
        is_bad = health.status == "blocked" if path == "/healthz" else health.status != "ok"
        status = HTTPStatus.SERVICE_UNAVAILABLE if is_bad else HTTPStatus.OK
        return _response(status, msgspec.json.encode(health), "application/json")


def _response(status: HTTPStatus, body: bytes, media_type: str) -> bytes:
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"content-type: {media_type}",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        "connection: close",
        "",
        "",
    )
    return "\r\n".join(lines).encode("latin-1") + body


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _names_this_machine(host: str) -> bool:
    """Whether the Host header names loopback. The name of a foreign page may lead to this machine as well."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return _is_loopback(name.strip("[]"))
