"""Runs one child process, with its log and its signals. It never outlives the process that started it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar, Protocol, Self

from stack.network import answers, free_port, wait_http

__all__ = ["ProcessError", "Service", "answers", "free_port", "stop_all", "wait_http"]

TETHER = Path(__file__).with_name("tether.py")
POLL_INTERVAL_S = 0.01
LAST_LINES = 15


class ProcessError(Exception):
    """A child did not start, or ended by itself. The message carries its last log lines."""


class Child(Protocol):
    """What a Service needs of a process. `subprocess.Popen` describes the methods."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...


class Launch(Protocol):
    """Starts a command as a child, whose outputs go to the file `log`. `Service` describes the other arguments."""

    def __call__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path | None, log: IO[bytes], /) -> Child: ...


def launched(argv: Sequence[str], env: Mapping[str, str], cwd: Path | None, log: IO[bytes]) -> Child:
    """Start a command as a child that ends with this process, and whose outputs go to the file `log`."""
    on_linux_main = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
    tether = [
        sys.executable,
        "-I",
        "-S",
        str(TETHER),
        str(os.getpid()),
        "kernel" if on_linux_main else "watch",
    ]
    return subprocess.Popen(
        [*tether, *argv],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


class Service:
    """A command run as a child in its own process group: Ctrl-C in a terminal reaches only its parent.

    Both outputs go to `log_path`, appended over restarts. The same object may be started again after its end.
    `launch` starts the process; tests replace it.
    """

    launch: ClassVar[Launch] = launched

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        log_path: Path,
        *,
        cwd: Path | None = None,
    ) -> None:
        """`env` is the child's whole environment, `cwd` its working directory (default: the caller's)."""
        self.name = name
        self.argv = list(argv)
        self.env = dict(env)
        self.log_path = log_path
        self.cwd = cwd
        self._process: Child | None = None
        self._log_start = 0

    def start(self) -> Self:
        """Start the child, and return as soon as its process exists. `wait_until` waits until it is ready.

        Raises:
            ProcessError: the child runs already.
        """
        if self.running:
            raise ProcessError(f"{self.name} is running already (pid {self.pid})")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = type(self).launch(self.argv, self.env, self.cwd, log)
        return self

    @property
    def pid(self) -> int:
        """The process id of the latest start. Raises ProcessError before the first start."""
        return self._started.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs; minus the signal's number if a signal ended it."""
        return self._started.poll()

    def log(self, *, since_start: bool = False) -> str:
        """Return what the process has written so far, over all its starts or since the latest one."""
        with contextlib.suppress(FileNotFoundError), self.log_path.open("rb") as log:
            log.seek(self._log_start if since_start else 0)
            return log.read().decode(errors="replace")
        return ""

    def last_lines(self) -> str:
        """Return the end of the latest start's log, for an error message."""
        return "\n".join(self.log(since_start=True).splitlines()[-LAST_LINES:])

    def terminate(self) -> None:
        """Send SIGTERM, which asks the process to end. Do nothing if it has ended already."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, and wait until the process is gone."""
        self._send(signal.SIGKILL)
        self._started.wait()

    def pause(self) -> None:
        """Send SIGSTOP. The process stands still, and its connections stay open."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT, which ends `pause`."""
        self._send(signal.SIGCONT)

    def wait(self, timeout_s: float) -> int:
        """Wait for the end, and return the exit code. Raises TimeoutError if it still runs after `timeout_s`."""
        try:
            return self._started.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {timeout_s:g} s") from None

    def wait_until(
        self, ready: Callable[[], bool], timeout_s: float, *, tick: Callable[[], None] = lambda: None
    ) -> None:
        """Poll `ready` until it is true, and call `tick` meanwhile. An exception of `tick` ends the wait.

        Raises:
            ProcessError: the child ended first.
            TimeoutError: not true after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise ProcessError(f"{self.name} ended with code {self.exit_code}:\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} was not ready within {timeout_s:g} s:\n{self.last_lines()}")
            tick()
            time.sleep(POLL_INTERVAL_S)

    @property
    def _started(self) -> Child:
        if self._process is None:
            raise ProcessError(f"{self.name} was not started")
        return self._process

    def _send(self, number: signal.Signals) -> None:
        self._started.send_signal(number)


def stop_all(
    services: Sequence[Service], limit_s: float, *, hurry: Callable[[], bool] = lambda: False
) -> list[Service]:
    """Ask all services to end at once. Kill those that are left after `limit_s`, or once `hurry()` is true.

    Returns those that had to be killed.
    """
    running = [service for service in services if service.running]
    for service in running:
        service.terminate()
        service.resume()  # a paused process would not see the signal
    deadline = time.monotonic() + limit_s
    while running and time.monotonic() < deadline and not hurry():
        time.sleep(POLL_INTERVAL_S)
        running = [service for service in running if service.running]
    for service in running:
        service.kill()
    return running
