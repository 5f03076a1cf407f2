"""The key file: what it may say, and that a running process notices its changes."""

import hashlib
import logging
from pathlib import Path

import pytest

from tests.support.clock import Clock
from tests.support.key_file import key_block, write_key_file
from turnwire.shared.errors import SettingsError
from turnwire.shared.key_file import WatchedKeyFile, is_tenant, parse_key_file
from turnwire.shared.watched_file import LOOK_S

ACME = key_block("backend", "secret of acme", "acme", ["turns", "tokens"])
DIGEST = "0" * 64


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def test_keys_are_found_by_their_digests_and_tenants_by_their_names():
    file = parse_key_file(ACME + "[tenant.acme]\nweight = 3\nmax_open_turns = 5\n")
    key = file.keys[digest("secret of acme")]
    assert (key.name, key.tenant, set(key.scopes), key.user) == ("backend", "acme", {"turns", "tokens"}, None)
    assert (file.tenants["acme"].weight, file.tenants["acme"].max_tails) == (3, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[key]", "not TOML"),
        ("key = 1", "does not fit"),
        (ACME.replace('"turns"', '"everything"'), "does not fit"),
        (ACME.replace('["turns", "tokens"]', "[]"), "does not fit"),
        (ACME.replace('"acme"', '"ac~me"'), "does not fit"),
        (ACME.replace("sha256", "key"), "does not fit"),
        (ACME.replace('sha256 = "', 'sha256 = "00'), "does not fit"),
        (ACME + ACME.replace("backend", "other"), "same digest"),
        (ACME + key_block("backend", "other secret", "acme", ["read"]), "same name"),
        (ACME.replace("backend", "jwt"), "reserved"),
        ("x = " + "9" * 5000, "not TOML"),
        ("x = " + "[" * 100_000, "not TOML"),
        (ACME + "max_turns_per_session = 3\n", "does not fit"),
        ('[tenant."a/b"]\n', "does not fit"),
        ("[tenant.acme]\nweigth = 3\n", "does not fit"),
        ("[tenant.acme]\nweight = 0\n", "does not fit"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_as_a_whole(text: str, reason: str):
    with pytest.raises(SettingsError, match=reason):
        parse_key_file(text)


def test_a_refusal_quotes_no_key_that_somebody_put_there_by_mistake():
    for text in (ACME.replace(digest("secret of acme").hex(), "tw_mistake"), "[[key]]\nname = tw_mistake\n"):
        with pytest.raises(SettingsError) as refused:
            parse_key_file(text)
        assert "tw_mistake" not in str(refused.value)


def test_without_a_path_there_are_no_keys():
    watched = WatchedKeyFile(None)
    assert watched.content.keys == {}
    assert watched.tenant("acme").weight is None


def test_a_process_does_not_start_without_its_file(tmp_path: Path):
    with pytest.raises(SettingsError, match="TURNWIRE_API_KEYS_FILE: the file cannot be read"):
        WatchedKeyFile(str(tmp_path / "keys.toml"))


def test_a_file_that_has_changed_is_read_again_after_a_second(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    clock, path = Clock(), write_key_file(tmp_path / "keys.toml", ACME)
    watched = WatchedKeyFile(str(path), clock=clock)
    first = watched.content
    write_key_file(path, key_block("new", "new secret", "acme", ["read"]))
    clock.now_s += LOOK_S
    assert set(watched.content.keys) == {digest("new secret")} != set(first.keys)
    assert "TURNWIRE_API_KEYS_FILE: the file has changed" in caplog.text
    second = watched.content
    clock.now_s += LOOK_S
    assert watched.content is second


@pytest.mark.parametrize("broken", ["[[key]", None], ids=["half", "gone"])
def test_a_broken_file_keeps_the_old_keys_and_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str | None
):
    clock, path = Clock(), write_key_file(tmp_path / "keys.toml", ACME)
    watched = WatchedKeyFile(str(path), clock=clock)
    if broken is None:
        path.unlink()
    else:
        write_key_file(path, broken)
    for _ in range(3):
        clock.now_s += LOOK_S
        assert set(watched.content.keys) == {digest("secret of acme")}
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "stays valid" in caplog.text
    write_key_file(path, key_block("new", "new secret", "acme", ["read"]))
    clock.now_s += LOOK_S
    assert set(watched.content.keys) == {digest("new secret")}


@pytest.mark.parametrize(
    ("text", "fits"), [("acme", True), ("a.B_c-1", True), ("", False), ("a~b", False), ("a\n", False)]
)
def test_a_tenant_has_a_name_that_fits_into_a_key(text: str, fits: bool):
    assert is_tenant(text) is fits
