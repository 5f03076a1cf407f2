"""`stack run` with small stand-ins for the API and the worker: what it shows and how it stops."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from watching import is_gone, until

from stack.process import free_port

ROOT = Path(__file__).resolve().parents[2]

RUN = """
import sys
from pathlib import Path
import stack.cluster, stack.run
stack.cluster.ROOT = Path.cwd()
stack.run.STATE = Path.cwd() / "state"
sys.exit(stack.run.main(sys.argv[1:]))
"""

ENDING = """
import os, signal, socket, sys
from urllib.parse import urlsplit

def end(*_):
    redis = urlsplit(os.environ["TURNWIRE_REDIS_URL"])
    with socket.create_connection((redis.hostname, redis.port)):  # Redis must still be there
        print(NAME, "stopped", file=open("order", "a"), flush=True)
    if not os.environ.get("TURNWIRE_HOOKS"):  # here: the word for a worker that does not want to end
        os._exit(0)

signal.signal(signal.SIGTERM, end)
"""

API = f"""
NAME = "api"
{ENDING}
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

print("api listens", file=sys.stderr, flush=True)
HTTPServer(("127.0.0.1", int(os.environ["TURNWIRE_PORT"])), Answer).serve_forever()
"""

WORKER = f"""
NAME = "worker"
{ENDING}
print("worker ready", os.getpid(), file=sys.stderr, flush=True)
while True:
    signal.pause()
"""


class Terminal:
    """One `stack run` and what it has written so far."""

    def __init__(self, home: Path, *args: str, **env: str) -> None:
        (home / "api.py").write_text(API)
        (home / "worker.py").write_text(WORKER)
        self.home = home
        self.output = home / f"output{len(list(home.glob('output*')))}"
        plain = {k: v for k, v in os.environ.items() if not k.startswith("TURNWIRE_") and k != "PORT"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, *args],
                cwd=home,
                env=plain | {"PYTHONPATH": str(ROOT)} | env,
                stdout=output,
                stderr=output,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def shows(self, words: str) -> bool:
        return until(lambda: words in self.text or self.process.poll() is not None) and words in self.text

    def redis_pid(self) -> int:
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", "(redis|valkey)-server"], capture_output=True, check=True
        )
        return int(found.stdout.split()[0])

    def children(self) -> list[int]:
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, check=False)
        return [int(pid) for pid in found.stdout.split()]


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def open_one(*args: str, **env: str) -> Terminal:
        opened.append(Terminal(tmp_path, *args, **env))
        return opened[-1]

    yield open_one
    for one in opened:
        one.process.kill()
        one.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_what_to_try_and_stops_in_order(terminal, number):
    run = terminal()
    assert run.shows("Turnwire is ready"), run.text
    assert "curl -N -X POST http://127.0.0.1:" in run.text
    assert "lease:chat:{demo}:0" in run.text
    assert re.search(r"redis://127.0.0.1:\d+/0 \((Valkey|Redis) [\d.]+, data in .turnwire/data\)", run.text)
    assert run.shows("api | api listens")
    assert run.shows("worker | worker ready")
    children = run.children()
    assert len(children) == 3
    run.process.send_signal(number)
    assert run.process.wait(20) == 0
    assert (run.home / "order").read_text().split("\n")[:2] == ["api stopped", "worker stopped"]
    assert all(is_gone(pid) for pid in children)


def test_a_second_ctrl_c_kills(terminal):
    run = terminal(TURNWIRE_HOOKS="stubborn:hooks")
    assert run.shows("Turnwire is ready"), run.text
    children = run.children()
    run.process.send_signal(signal.SIGINT)
    assert run.shows("Ctrl-C again")
    assert until((run.home / "order").exists)
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(10) == 130
    assert "killed api0, worker0" in run.text
    assert all(is_gone(pid) for pid in children)


def test_a_child_that_dies_ends_the_rest_with_its_last_lines(terminal):
    run = terminal("--quiet")
    assert run.shows("Turnwire is ready"), run.text
    log = (run.home / "state" / "log" / "worker0.log").read_text()
    assert log not in run.text
    os.kill(int(log.split()[-1]), signal.SIGKILL)
    assert run.process.wait(20) == 1
    assert "worker0 ended by itself with code -9" in run.text
    assert log in run.text
    assert (run.home / "order").read_text() == "api stopped\n"


def test_children_die_when_it_is_killed(terminal):
    run = terminal()
    assert run.shows("Turnwire is ready"), run.text
    children = run.children()
    run.process.kill()
    run.process.wait()
    assert until(lambda: all(is_gone(pid) for pid in children))


def test_a_second_run_on_the_same_data_is_refused(terminal):
    run = terminal()
    assert run.shows("Turnwire is ready"), run.text
    second = terminal()
    assert second.process.wait(10) == 1
    assert second.text == "stack: it runs already from this checkout; stop that one first\n"


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(terminal):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        run = terminal(PORT=port)
        assert run.process.wait(10) == 1
    assert run.text == f"stack: port {port} is taken\n"


def test_the_port_that_was_asked_for_is_used(terminal):
    port = str(free_port())
    run = terminal(TURNWIRE_PORT=port)
    assert run.shows(f"API     http://127.0.0.1:{port}\n"), run.text


def test_a_wrong_setting_is_named_before_anything_starts(terminal):
    run = terminal(TURNWIRE_LEASE_SECONDS="5")
    assert run.process.wait(10) == 1
    assert "TURNWIRE_LEASE_SECONDS: no such setting" in run.text
