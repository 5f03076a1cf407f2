"""`keys new`: a key that works, shown once, whose block is a key file."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.key_file import key_block
from turnwire.api.__main__ import main
from turnwire.api.access.new_key import PREFIX, append_block, new_key
from turnwire.shared.errors import SettingsError
from turnwire.shared.key_file import parse_key_file

ROOT = Path(__file__).resolve().parents[3]


def run(*args: str, module: str = "api") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module, "keys", *args], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )


def test_the_block_of_a_new_key_holds_its_digest_and_not_the_key():
    key = new_key("backend", "acme", ["turns", "tokens"], 'Ada "the first" Lovelace\\')
    assert key.secret.startswith(PREFIX)
    assert len(key.secret) > 40
    assert key.secret not in key.block
    assert key.secret not in repr(key)
    [read] = parse_key_file(key.block).keys.items()
    assert read[0] == hashlib.sha256(key.secret.encode()).digest()
    assert (read[1].name, read[1].tenant, read[1].user) == ("backend", "acme", 'Ada "the first" Lovelace\\')


def test_no_two_keys_are_alike():
    assert len({new_key("k", "acme", ["read"]).secret for _ in range(100)}) == 100


@pytest.mark.parametrize(("name", "tenant", "scopes"), [("a b", "t", ["read"]), ("a", "", ["read"]), ("a", "t", [])])
def test_what_does_not_fit_into_a_key_file_is_refused(name: str, tenant: str, scopes: list[str]):
    with pytest.raises(SettingsError):
        new_key(name, tenant, scopes)


@pytest.mark.parametrize("before", ["", "[tenant.acme]\nweight = 2", "[tenant.acme]\nweight = 2\n"])
def test_a_block_is_appended_to_a_file_of_any_content(tmp_path: Path, before: str):
    path = tmp_path / "keys.toml"
    if before:
        path.write_text(before, encoding="utf-8")
    for name in ("one", "two"):
        append_block(path, new_key(name, "acme", ["read"]).block)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(before)
    assert {key.name for key in parse_key_file(text).keys.values()} == {"one", "two"}


def test_a_new_file_is_for_its_owner_only(tmp_path: Path):
    append_block(tmp_path / "keys.toml", new_key("one", "acme", ["read"]).block)
    assert (tmp_path / "keys.toml").stat().st_mode & 0o777 == 0o600 & ~os.umask(os.umask(0o022))


def test_a_name_that_is_taken_changes_nothing(tmp_path: Path):
    path = tmp_path / "keys.toml"
    path.write_text(key_block("backend", "s", "acme", ["read"]), encoding="utf-8")
    before = path.read_text(encoding="utf-8")
    ran = run("new", "--name", "backend", "--tenant", "acme", "--append", str(path))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "same name" in ran.stderr
    assert path.read_text(encoding="utf-8") == before


def test_the_command_prints_the_key_once_and_its_block():
    ran = run("new", "--name", "backend", "--tenant", "acme", "--scope", "read", "--scope", "tokens")
    secret, block = ran.stdout.split("\n\n")
    [key] = parse_key_file(block).keys.values()
    assert key.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert set(key.scopes) == {"read", "tokens"}
    assert secret not in ran.stderr


def test_with_append_the_command_prints_the_key_alone(tmp_path: Path):
    path = tmp_path / "keys.toml"
    ran = run("new", "--name", "b", "--tenant", "acme", "--append", str(path), module="turnwire.api")
    [key] = parse_key_file(path.read_text(encoding="utf-8")).keys.values()
    assert hashlib.sha256(ran.stdout.strip().encode()).hexdigest() == key.sha256


@pytest.mark.parametrize(
    "args", [(), ("new",), ("new", "--name", "x"), ("new", "--name", "x", "--tenant", "t", "--scope", "all")]
)
def test_a_wrong_command_says_how_it_is_used(
    args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["api", "keys", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "usage: python -m api keys" in capsys.readouterr().err
