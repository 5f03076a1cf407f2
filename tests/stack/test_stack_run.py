"""`dev.py run` with small stand-ins for the API and the worker: what it shows and how it stops."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stack.process import free_port
from stack.run import named_from
from tests.stack import standins
from tests.stack.watching import children_of, is_gone, until

ROOT = Path(__file__).resolve().parents[2]

RUN = """
import sys
from pathlib import Path
import stack.cluster, stack.run
stack.cluster.ROOT = Path.cwd()
stack.run.STATE = Path.cwd() / "state"
sys.exit(stack.run.main(sys.argv[1:]))
"""


class Terminal:
    """One `dev.py run`, and what it has written so far."""

    def __init__(self, home: Path, *args: str, **env: str) -> None:
        standins.write(home)
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

    def children(self) -> list[int]:
        return children_of(self.process.pid)


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
def test_it_says_what_to_try_and_stops_properly(terminal, number):
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
    assert run.process.wait(60) == 0
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
    assert run.process.wait(15) == 130
    assert "killed api0, worker0" in run.text
    assert all(is_gone(pid) for pid in children)


def test_a_child_that_ends_by_itself_ends_the_rest_with_its_last_lines(terminal):
    run = terminal("--quiet")
    assert run.shows("Turnwire is ready"), run.text
    log = (run.home / "state" / "log" / "worker0.log").read_text()
    assert log not in run.text
    os.kill(int(log.split()[-1]), signal.SIGTERM)
    assert run.process.wait(60) == 1
    assert "worker0 ended by itself with code" in run.text
    assert log in run.text
    assert "api stopped" in (run.home / "order").read_text()


def test_a_worker_that_was_killed_is_started_again(terminal):
    """The introduction invites the reader to try this."""
    run = terminal()
    assert run.shows("Turnwire is ready"), run.text
    log = run.home / "state" / "log" / "worker0.log"
    os.kill(int(log.read_text().split()[-1]), signal.SIGKILL)
    assert run.shows("worker0 was killed by signal 9; starting it again")
    assert until(lambda: log.read_text().count("worker ready") == 2)
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(60) == 0


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
    assert second.process.wait(60) == 1
    assert second.text == "stack: the service of this checkout runs already; stop it first\n"


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(terminal):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        run = terminal(PORT=port)
        assert run.process.wait(60) == 1
    assert run.text == f"stack: port {port} is taken\n"


def test_the_port_that_was_asked_for_is_used(terminal):
    port = str(free_port())
    run = terminal(TURNWIRE_PORT=port)
    assert run.shows(f"API     http://127.0.0.1:{port}\n"), run.text


def test_a_wrong_setting_is_named_before_anything_starts(terminal):
    run = terminal(TURNWIRE_LEASE_SECONDS="5")
    assert run.process.wait(60) == 1
    assert "TURNWIRE_LEASE_SECONDS: no such setting" in run.text


def test_a_relative_path_in_a_setting_begins_where_the_command_was_given():
    environ = {"TURNWIRE_MODELS_FILE": "models.toml", "TURNWIRE_PRICES_FILE": "/etc/prices.toml", "OTHER_FILE": "x"}
    assert named_from("/home/ada", environ | {"TURNWIRE_PORT": "1", "TURNWIRE_CODEC_KEYS_FILE": ""}) == {
        "TURNWIRE_MODELS_FILE": "/home/ada/models.toml",
        "TURNWIRE_PRICES_FILE": "/etc/prices.toml",
        "TURNWIRE_PORT": "1",
        "TURNWIRE_CODEC_KEYS_FILE": "",
    }
