"""Starts the workers and APIs of the tests quickly: by forking a process that has imported everything already.

A start costs 0.3 s of CPU time, nearly all of it for imports, and the tests start some 500 processes. A forked child
is a process like any other: it has its own pid, session, environment, log and exit status, and it is really killed. It
runs `python -m <module>` by `runpy`, as the interpreter does. The interpreter itself starts in the tests of
`tests/stack`, `tests/packaging` and `tests/docs`, which run `dev.py`, the Procfile and an installed package.

`python -m tests.support.nursery FD` is the process that forks. It ends when the tests close the other end of the socket
FD, and with it all its children. Each process that runs tests has a nursery of its own. With `--processes`, all these
nurseries are forked by `python -m tests.support.nursery FD --for-all`, which has imported everything once.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, Final

from stack.cluster import ROOT
from stack.process import Child, launched
from tests.support import certificates

MODULES: Final = ("worker", "api", "tests.support.crashing_worker", "tests.support.crashing_api")
PRELOADED: Final = (
    "turnwire.worker.__main__",
    "turnwire.api.__main__",
    "tests.support.crashing_worker",
    "chaos.careless",
)
PR_SET_PDEATHSIG: Final = 1
MESSAGE_BYTES: Final = 65_536


class Forked:
    """A child of the nursery, with those methods of Popen that a Service needs. Its exit status comes on a pipe."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self._status = status
        self._returncode: int | None = None

    def __del__(self) -> None:
        if self._returncode is None:
            os.close(self._status)

    def poll(self) -> int | None:
        """Return the exit code; None while it runs; minus the signal's number if a signal ended it."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        code = self._wait(None if timeout is None else timeout * 1000)
        if code is None:
            raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def _wait(self, timeout_ms: float | None) -> int | None:
        if self._returncode is None:
            ended = select.poll()
            ended.register(self._status, select.POLLIN)
            if ended.poll(timeout_ms):
                # Nothing to read means that the nursery itself was killed, and its children with it.
                self._returncode = int(os.read(self._status, 16) or -signal.SIGKILL)
                os.close(self._status)
        return self._returncode


class Nursery:
    """The tests' end. `launch` takes the place of `Service.launch`. The process starts when it is needed first."""

    _shared: ClassVar["Nursery | None"] = None

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def share(cls) -> None:
        """Let all processes that this one forks use what one process has imported. `unshare` ends it after them."""
        shared = cls()
        shared._start("--for-all")
        cls._shared = shared

    @classmethod
    def unshare(cls) -> None:
        if cls._shared is not None:
            cls._shared.close()
            cls._shared = None

    def close(self) -> None:
        """End the nursery and every child that still runs."""
        if self._socket is None:
            return
        self._socket.shutdown(socket.SHUT_WR)
        self._socket.recv(1)  # nothing comes, but its end is closed when it has ended
        self._socket.close()
        if self._process is not None:
            self._process.wait()

    def launch(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path | None, log: IO[bytes]) -> Child:
        """Fork a child if it runs one of the modules; start any other command as usual."""
        if cwd is not None and cwd != ROOT and (cwd / "turnwire").exists():  # another version
            return launched(argv, env, cwd, log)
        if list(argv[:2]) != [sys.executable, "-m"] or len(argv) != 3 or argv[2] not in MODULES:
            return launched(argv, env, cwd, log)
        sock = self._socket or self._start()
        request = json.dumps({"module": argv[2], "env": dict(env), "cwd": str(cwd or Path.cwd())}).encode()
        mine, theirs = os.pipe()
        socket.send_fds(sock, [request], [log.fileno(), theirs])
        os.close(theirs)
        return Forked(int(sock.recv(16)), mine)

    def _start(self, *options: str) -> socket.socket:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if self._shared is not None and self._shared._socket is not None:
            socket.send_fds(self._shared._socket, [b"fork"], [other.fileno()])
        else:
            argv = [sys.executable, "-m", "tests.support.nursery", str(other.fileno()), *options]
            self._process = subprocess.Popen(argv, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, cwd=ROOT)
        other.close()
        return self._socket


def _fork_nurseries(asked: socket.socket) -> socket.socket | None:
    """Fork a nursery for each socket that comes, until nobody can ask. Returns None then; in a nursery, its socket."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, fds, _, _ = socket.recv_fds(asked, MESSAGE_BYTES, 1)
        if not message:
            return None
        if os.fork() == 0:
            asked.close()
            return socket.socket(fileno=fds[0])
        os.close(fds[0])


def _serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork children until the tests close the socket. Returns None then; in a child, what it shall run."""
    wakeup, on_signal = os.pipe()
    os.set_blocking(on_signal, False)
    signal.set_wakeup_fd(on_signal)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    statuses: dict[int, int] = {}
    asked = requests.fileno()
    while True:
        ready, _, _ = select.select([asked, wakeup], [], [])
        if wakeup in ready:
            os.read(wakeup, 4096)
            _report(statuses)
        if asked not in ready:
            continue
        message, fds, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, 2)
        if not message:
            return None
        log, status = fds
        nursery, pid = os.getpid(), os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (requests.detach(), wakeup, on_signal, status, *statuses.values()):
                os.close(descriptor)
            _settle_in(log, nursery)
            return dict(json.loads(message))
        os.close(log)
        statuses[pid] = status
        requests.send(str(pid).encode())


def _report(statuses: dict[int, int]) -> None:
    """Tell the tests which children have ended. Only then may their pids be given to others."""
    for pid, status in list(statuses.items()):
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            os.write(status, str(code).encode())
            os.close(statuses.pop(pid))
            os.waitpid(pid, 0)


def _settle_in(log: int, nursery: int) -> None:
    """Become a process of its own, which ends with the nursery and writes to its log."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != nursery:  # it died before the kernel had accepted the request
        os._exit(1)
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, standard)
    os.close(null)
    os.close(log)


def main() -> None:
    """Import everything, then serve. A child returns from here as `python -m` would: by ending the interpreter."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    for name in PRELOADED:
        importlib.import_module(name)
    certificates.keep()
    certificates.kept_context()
    gc.freeze()  # otherwise the first collection of every child would copy all pages
    requests = _fork_nurseries(asked) if sys.argv[2:] else asked
    child = _serve(requests) if requests is not None else None
    if child is None:
        return
    os.environ.clear()
    os.environ.update(child["env"])
    os.chdir(child["cwd"])
    sys.path[0] = child["cwd"]
    sys.path[1:1] = [folder for folder in child["env"].get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.argv = [child["module"]]
    _run(child["module"])


def _run(module: str) -> None:
    """Run a module as a program and end with its exit status, without taking everything apart that was imported.

    That would copy nearly all pages which the children share, and cost more than the rest of a child's life.
    """
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code is not None and not isinstance(ended.code, int):
            raise
        status = ended.code or 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
