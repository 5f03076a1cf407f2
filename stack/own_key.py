"""The API key of `dev.py run`, which it makes if others can reach the API and no credentials were set."""

import os
from pathlib import Path
from typing import Final

import msgspec

from turnwire.api.access.identity import GIVEN
from turnwire.api.access.new_key import new_key
from turnwire.api.edge.site import is_loopback
from turnwire.shared.settings import Settings

KEY_FILE: Final = "keys.toml"
PLAIN_FILE: Final = "key"


class OwnKey(msgspec.Struct, frozen=True):
    """The key, and the settings with which the API knows it."""

    secret: str
    env: dict[str, str]


def own_key(settings: Settings, state: Path) -> OwnKey | None:
    """Return the key of this checkout, made at the first use; None if the API needs none or has other credentials."""
    if settings.authenticates or settings.auth == "none" or is_loopback(settings.host):
        return None
    env = {"TURNWIRE_API_KEYS_FILE": str(state / KEY_FILE)}
    plain_file = state / PLAIN_FILE
    if plain_file.exists() and (state / KEY_FILE).exists():
        return OwnKey(plain_file.read_text(encoding="utf-8"), env)
    key = new_key("dev", "default", sorted(GIVEN))
    for path, text in ((state / KEY_FILE, key.block), (plain_file, key.secret)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    return OwnKey(key.secret, env)
