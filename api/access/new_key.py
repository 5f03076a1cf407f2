"""Makes API keys, and writes their blocks into key files."""

import fcntl
import hashlib
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from turnwire.shared.key_file import parse_key_file

PREFIX: Final = "tw_"  # by which people, logs and scanners recognize a key
RANDOM_BYTES: Final = 32


class NewKey(msgspec.Struct, frozen=True):
    """A new key: its `secret`, which nobody can read again, and its `block` of a key file, which holds the digest."""

    secret: str
    block: str

    def __repr__(self) -> str:
        return f"NewKey({self.block!r})"


def new_key(name: str, tenant: str, scopes: Sequence[str], user: str | None = None) -> NewKey:
    """Make a random key.

    Args:
        name: what logs and the audit call it: 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
        tenant: whose sessions it opens; the same characters.
        scopes: what it may do: `read`, `turns`, `tokens`, `metrics`, `admin`.
        user: if given, it opens only sessions of this user.

    Raises:
        SettingsError: one of them does not fit into a key file.
    """
    secret = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    fields: dict[str, str | list[str]] = {
        "name": name,
        "tenant": tenant,
        "scopes": list(scopes),
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
    }
    if user is not None:
        fields["user"] = user
    lines = [f"{field} = {_toml(value)}" for field, value in fields.items()]
    block = "\n".join(["[[key]]", *lines, ""])
    parse_key_file(block)
    return NewKey(secret, block)


def append_block(path: Path, block: str) -> None:
    """Append a block to a key file, which is made if there is none. A running API reads it within a second.

    Raises:
        SettingsError: the file would no longer be a key file, so that it was not changed.
        OSError: the file cannot be written.
    """
    path.touch(mode=0o600)
    with path.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # somebody else may append another key
        text = file.read()
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        parse_key_file(text + gap + block)
        file.write(gap + block)


def _toml(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)  # a text, or a list of texts, is written in the same way
