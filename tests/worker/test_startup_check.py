"""`--check` of both processes: it does what comes before serving, says what it found, and exits."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.key_file import key_block, write_key_file
from turnwire.api.__main__ import main as api
from turnwire.worker.__main__ import main as worker

PROCESSES = {"api": api, "worker": worker}


class Checked(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Check = Callable[..., Checked]


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Check:
    """Check a process with these variables."""
    for name in os.environ:
        if name.startswith("TURNWIRE_"):
            monkeypatch.delenv(name)

    def check(process: str, **env: str) -> Checked:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        status = PROCESSES[process](["--check"])
        return Checked(status, *capsys.readouterr())

    return check


def test_an_api_says_who_may_come_in_and_what_a_crash_would_lose(checked: Check, redis_url: str, tmp_path: Path):
    keys = write_key_file(tmp_path / "keys.toml", key_block("k", "tw_k", "acme", ["read"]))
    found = checked(
        "api", TURNWIRE_REDIS_URL=redis_url, TURNWIRE_API_KEYS_FILE=str(keys), TURNWIRE_TOKEN_SECRET="s" * 32
    )
    assert found.returncode == 0, found.stderr
    assert "api: settings: TURNWIRE_API_KEYS_FILE, TURNWIRE_REDIS_URL, TURNWIRE_TOKEN_SECRET\n" in found.stdout
    assert "api: access: 1 API keys of 1 tenants, session tokens\n" in found.stdout
    assert "api: warning: the store has no append-only file" in found.stdout
    assert found.stdout.endswith("api: ready to start\n")
    assert "s" * 32 not in found.stdout


def test_a_worker_imports_its_hooks_and_starts_nothing(
    checked: Check, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    product = "from turnwire import ChatTurnHooks\nclass Legal(ChatTurnHooks):\n    startup = lambda self: 1 / 0\n"
    (tmp_path / "checked_product.py").write_text(product + "hooks = Legal()\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = checked("worker", TURNWIRE_REDIS_URL=redis_url, TURNWIRE_HOOKS="legal=checked_product:hooks")
    assert found.returncode == 0, found.stderr
    assert "worker: hooks: legal=Legal\n" in found.stdout
    assert "worker: projects: legal; pools: default\n" in found.stdout
    assert found.stdout.endswith("worker: ready to start\n")


@pytest.mark.parametrize("process", ["api", "worker"])
def test_without_redis_the_exit_status_is_1(checked: Check, process: str):
    found = checked(process, TURNWIRE_REDIS_URL="redis://:hunter2@127.0.0.1:1/0")
    assert found.returncode == 1
    assert f"turnwire {process}: not ready: TURNWIRE_REDIS_URL: " in found.stdout
    assert "hunter2" not in found.stdout + found.stderr


@pytest.mark.parametrize(
    ("process", "name", "value"),
    [
        ("api", "TURNWIRE_API_KEYS_FILE", "/nowhere/keys.toml"),
        ("api", "TURNWIRE_HOST", "0.0.0.0"),
        ("worker", "TURNWIRE_HOOKS", "no_such_module:hooks"),
        ("worker", "TURNWIRE_PRICES_FILE", "/nowhere/prices.toml"),
    ],
)
def test_what_a_setting_names_must_be_there(checked: Check, process: str, name: str, value: str, redis_url: str):
    found = checked(process, TURNWIRE_REDIS_URL=redis_url, **{name: value})
    assert found.returncode == 2
    assert found.stderr.startswith(f"turnwire {process}: {name}")
    assert "ready to start" not in found.stdout


@pytest.mark.parametrize("process", ["api", "worker"])
def test_the_variables_of_the_command_line_do_not_disturb_a_process(checked: Check, process: str, redis_url: str):
    env = {"TURNWIRE_URL": "http://127.0.0.1:8000", "TURNWIRE_API_KEY": "tw_secret"}
    found = checked(process, TURNWIRE_REDIS_URL=redis_url, **env)
    assert found.returncode == 0, found.stderr
    assert "tw_secret" not in found.stdout
