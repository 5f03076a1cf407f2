"""The key that `dev.py run` makes for an API that others can reach."""

from pathlib import Path

import pytest

from stack.own_key import own_key
from tests.support.key_file import key_block, write_key_file
from turnwire.api.access.door import Door, Presented
from turnwire.api.server import check_bind
from turnwire.shared.key_file import WatchedKeyFile
from turnwire.shared.settings import Settings


async def test_a_checkout_keeps_its_key_which_opens_the_sessions_of_the_default_tenant(tmp_path: Path):
    first = own_key(Settings(host="0.0.0.0"), tmp_path)
    assert first is not None
    assert own_key(Settings(host="0.0.0.0"), tmp_path) == first
    settings = Settings.from_env(first.env | {"TURNWIRE_HOST": "0.0.0.0"})
    check_bind(settings)
    identity = await Door(settings, WatchedKeyFile(settings.api_keys_file)).identify(Presented(first.secret))
    assert identity.tenant == "default"


def test_only_its_owner_reads_what_a_checkout_keeps(tmp_path: Path):
    own_key(Settings(host="0.0.0.0"), tmp_path)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


@pytest.mark.parametrize("settings", [Settings(), Settings(host="0.0.0.0", auth="none")])
def test_no_key_is_made_for_an_api_that_asks_for_none(settings: Settings, tmp_path: Path):
    assert own_key(settings, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_key_file_that_was_set_is_used(tmp_path: Path):
    path = write_key_file(tmp_path / "mine.toml", key_block("k", "s", "t", ["read"]))
    assert own_key(Settings(host="0.0.0.0", api_keys_file=str(path)), tmp_path) is None
