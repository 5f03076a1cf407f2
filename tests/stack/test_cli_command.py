"""`dev.py cli` is the command `turnwire`, and finds the service that `dev.py` runs."""

import os
from pathlib import Path

import pytest

from stack import commands, run
from stack.own_key import PLAIN_FILE
from stack.redis_command import URL_FILE


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """What the process would have become. It runs in a folder of its own, and its state is there, too."""
    argv: list[list[str]] = []

    def become(args: list[str]) -> int:
        argv.append(args)
        return 0

    monkeypatch.setattr(commands, "become", become)
    monkeypatch.setattr(run, "STATE", tmp_path)
    monkeypatch.setattr(os, "environ", {commands.CALLED_IN: str(tmp_path)})
    monkeypatch.chdir(tmp_path)
    return argv


def test_it_asks_the_service_that_runs(became, tmp_path: Path):
    (tmp_path / run.API_URL).write_text("http://127.0.0.1:4711")
    (tmp_path / PLAIN_FILE).write_text("tw_own")
    (tmp_path / URL_FILE.name).write_text("unix:///own.sock")
    assert commands.main(["cli", "send", "demo", "--help"]) == 0
    assert became == [["-m", "turnwire", "send", "demo", "--help"]]
    assert os.environ["TURNWIRE_URL"] == "http://127.0.0.1:4711"
    assert os.environ["TURNWIRE_API_KEY"] == "tw_own"
    assert os.environ["TURNWIRE_REDIS_URL"] == "unix:///own.sock", "the doctor looks at this Redis"
    assert Path.cwd() == tmp_path


def test_the_own_key_goes_to_no_other_service(became, tmp_path: Path):
    (tmp_path / run.API_URL).write_text("http://127.0.0.1:4711")
    (tmp_path / PLAIN_FILE).write_text("tw_own")
    (tmp_path / URL_FILE.name).write_text("unix:///own.sock")
    os.environ["TURNWIRE_URL"] = "https://turnwire.example.com"
    commands.main(["cli", "queue"])
    assert os.environ["TURNWIRE_URL"] == "https://turnwire.example.com"
    assert "TURNWIRE_API_KEY" not in os.environ
    assert "TURNWIRE_REDIS_URL" not in os.environ


def test_a_redis_that_the_user_names_counts(became, tmp_path: Path):
    (tmp_path / run.API_URL).write_text("http://127.0.0.1:4711")
    (tmp_path / URL_FILE.name).write_text("unix:///own.sock")
    os.environ["TURNWIRE_REDIS_URL"] = "redis://elsewhere"
    commands.main(["cli", "doctor"])
    assert os.environ["TURNWIRE_REDIS_URL"] == "redis://elsewhere"


def test_without_a_running_service_nothing_is_assumed(became):
    commands.main(["cli", "--help"])
    assert became == [["-m", "turnwire", "--help"]]
    assert "TURNWIRE_URL" not in os.environ
