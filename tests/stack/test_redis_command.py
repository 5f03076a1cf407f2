"""`dev.py redis` looks into the running service without redis-cli; `dev.py test --redis` chooses the server."""

import os
import subprocess
import sys

import pytest
from redis import Redis

from stack import redis_command
from stack.cluster import ROOT
from stack.commands import main as command
from stack.redis_server import CHOICE, ServerNotFoundError, find_server


@pytest.fixture
def running(redis_url, tmp_path, monkeypatch):
    """Run an empty server, and write its URL to the file as `dev.py run` does."""
    monkeypatch.delenv("TURNWIRE_REDIS_URL", raising=False)
    monkeypatch.setattr(redis_command, "URL_FILE", tmp_path / "redis-url")
    (tmp_path / "redis-url").write_text(redis_url)
    with Redis.from_url(redis_url) as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (["GET", "text"], "hello\n"),
        (["GET", "none"], "(nil)\n"),
        (["KEYS", "te*"], "text\n"),
        (["HGETALL", "hash"], "a 1\n"),
        (["XRANGE", "log", "-", "+"], "1-0\ne {}\n"),
    ],
)
def test_it_prints_what_redis_answers(running, capsys, args, shown):
    running.set("text", "hello")
    running.hset("hash", "a", "1")
    running.xadd("log", {"e": "{}"}, "1-0")
    assert redis_command.main(args) == 0
    assert capsys.readouterr().out == shown


def test_an_error_of_redis_is_a_status(running, capsys):
    assert redis_command.main(["NO-SUCH"]) == 1
    assert "unknown command" in capsys.readouterr().err


def test_without_a_running_service_it_says_how_to_start_one(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TURNWIRE_REDIS_URL", raising=False)
    monkeypatch.setattr(redis_command, "URL_FILE", tmp_path / "redis-url")
    assert redis_command.main(["PING"]) == 1
    assert "start it with: python3 dev.py" in capsys.readouterr().err


def test_the_tests_run_on_the_server_that_was_chosen(monkeypatch, tmp_path):
    server = tmp_path / "my-redis"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setenv(CHOICE, str(server))
    assert find_server.__wrapped__() == [str(server)]
    monkeypatch.setenv(CHOICE, str(tmp_path / "gone"))
    with pytest.raises(ServerNotFoundError, match="there is no program"):
        find_server.__wrapped__()


def test_the_choice_reaches_pytest(monkeypatch):
    monkeypatch.setenv(CHOICE, "")
    asked = []

    def become(args: list[str]) -> int:
        asked.append(args)
        return 0

    monkeypatch.setattr("stack.commands.become", become)
    assert command(["test", "--redis", sys.executable, "-x"]) == 0
    assert asked == [["-m", "pytest", "-x"]]
    assert os.environ[CHOICE] == sys.executable


def test_a_server_that_is_not_there_is_an_error(capsys):
    assert command(["test", "--redis", "/no/such/redis-server"]) == 2
    assert "/no/such/redis-server" in capsys.readouterr().err


def test_the_command_is_reachable_from_dev_py():
    argv = [sys.executable, "-m", "stack", "redis"]
    answer = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "give a command" in answer.stderr
