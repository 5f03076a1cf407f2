"""Child processes: their logs, their signals, and that they never outlive their parent."""

import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from stack.process import ProcessError, Service, free_port, stop_all, wait_http
from tests.stack.watching import is_gone, until

ROOT = Path(__file__).resolve().parents[2]

PARENT = """
import os, sys, threading
from pathlib import Path
from stack.process import Service

def begin():
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]
    print(Service("child", argv, dict(os.environ), Path(sys.argv[1])).start().pid, flush=True)

if sys.argv[2] == "main":
    begin()
else:
    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
sys.stdin.read()
"""


def python(code: str, tmp_path: Path, name: str = "child") -> Service:
    return Service(name, [sys.executable, "-c", code], dict(os.environ), tmp_path / f"{name}.log")


def is_up(child: Service) -> bool:
    return "up" in child.log()


@pytest.mark.parametrize("thread", ["main", "other"])
def test_a_child_dies_with_a_parent_that_was_killed(tmp_path, thread):
    argv = [sys.executable, "-c", PARENT, str(tmp_path / "child.log"), thread]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not is_gone(child)
        parent.kill()
        parent.wait()
    assert until(lambda: is_gone(child))


def test_ctrl_c_in_the_terminal_does_not_reach_a_child(tmp_path):
    child = python("import time; time.sleep(600)", tmp_path).start()
    try:
        assert os.getpgid(child.pid) != os.getpgrp()
    finally:
        child.kill()


def test_the_log_tells_starts_apart(tmp_path):
    child = python("import sys; print('out'); print('err', file=sys.stderr)", tmp_path)
    assert child.start().wait(60) == 0
    assert child.start().wait(60) == 0
    assert sorted(child.log(since_start=True).split()) == ["err", "out"]
    assert len(child.log().split()) == 4


def test_a_child_that_ends_while_it_is_waited_for_shows_its_last_words(tmp_path):
    child = python("raise SystemExit('no such setting')", tmp_path).start()
    with pytest.raises(ProcessError, match=r"child ended with code 1:\nno such setting"):
        child.wait_until(lambda: False, 10)


def test_waiting_has_a_limit(tmp_path):
    child = python("import time; time.sleep(600)", tmp_path).start()
    try:
        with pytest.raises(TimeoutError, match="still runs after"):
            child.wait(0.01)
        with pytest.raises(TimeoutError, match="not ready within"):
            child.wait_until(lambda: False, 0.01)
    finally:
        child.kill()
    assert child.exit_code == -signal.SIGKILL


def test_a_child_runs_once_at_a_time(tmp_path):
    child = python("import time; time.sleep(600)", tmp_path).start()
    try:
        with pytest.raises(ProcessError, match="running already"):
            child.start()
    finally:
        child.kill()
    child.kill()  # killing it again does nothing
    child.terminate()


def test_a_child_that_ignores_sigterm_is_killed_after_the_limit_and_named(tmp_path):
    stubborn = python(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
        tmp_path,
        "stubborn",
    ).start()
    polite = python("import time; print('up', flush=True); time.sleep(600)", tmp_path, "polite").start()
    for child in (stubborn, polite):
        child.wait_until(partial(is_up, child), 10)
    polite.pause()
    assert stop_all([stubborn, polite], 0.5) == [stubborn]
    assert polite.exit_code == -signal.SIGTERM
    assert stop_all([stubborn, polite], 0.5) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot reserve a port for a server")
def test_a_free_port_is_kept_for_the_server_that_names_it():
    port = free_port()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername()[1] == port
    with socket.create_server(("127.0.0.1", port)):
        pass  # the server is started again


def test_a_probe_ends_in_time_when_nobody_listens():
    url = f"http://127.0.0.1:{free_port()}/readyz"
    with pytest.raises(TimeoutError, match="did not answer 200"):
        wait_http(url, 0.05)
