"""Reads the key file (TURNWIRE_API_KEYS_FILE): the API keys, and the settings of single tenants.

```toml
[[key]]
name = "backend"
tenant = "acme"
scopes = ["turns", "tokens"]
sha256 = "<64 hex digits: the digest of the key>"
max_tails = 10

[tenant.acme]
max_open_turns = 100
```

The file holds no key, only digests. It is read again when it has changed. A new file that cannot be read changes
nothing: the keys that were read last stay valid, and the log says why.
"""

import re
import time
import tomllib
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from turnwire.shared.errors import SettingsError
from turnwire.shared.watched_file import WatchedFile

TenantName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
KeyScope = Literal["read", "turns", "tokens", "metrics", "admin"]


RESERVED: Final = frozenset({"anybody", "jwt", "nobody", "proxy"})  # what the audit calls those who have no key


class OwnLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits that a tenant, or a key, may have of its own. None: it has no such limit of its own."""

    requests_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    max_open_turns: Annotated[int, Meta(gt=0)] | None = None
    max_tails: Annotated[int, Meta(gt=0)] | None = None
    max_sessions: Annotated[int, Meta(gt=0)] | None = None
    max_signals: Annotated[int, Meta(gt=0)] | None = None
    max_body_bytes: Annotated[int, Meta(gt=0)] | None = None


class Key(OwnLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One API key. Its limits count besides those of its tenant.

    Attributes:
        name: what logs and the audit call it; each key has another one.
        tenant: whose sessions it opens.
        scopes: what it may do.
        sha256: the digest of the key's text, 64 hex digits.
        user: if given, it opens only sessions of this user.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]
    tenant: TenantName
    scopes: Annotated[frozenset[KeyScope], Meta(min_length=1)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    user: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class TenantSettings(OwnLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[tenant.<name>]`. A field that it leaves out is None: the setting of the environment counts."""

    weight: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    max_turns_per_session: Annotated[int, Meta(gt=0)] | None = None
    max_signal_bytes: Annotated[int, Meta(gt=0)] | None = None
    max_event_bytes: Annotated[int, Meta(gt=0)] | None = None
    max_log_events: Annotated[int, Meta(gt=0)] | None = None
    max_log_bytes: Annotated[int, Meta(gt=0)] | None = None
    retention_s: Annotated[int, Meta(gt=0, le=315_360_000)] | None = None


class KeyFile(msgspec.Struct, frozen=True):
    """The content of the file: the keys by the bytes of their digests and by their names, and the settings of tenants.

    The settings of a tenant are found by its name.
    """

    keys: Mapping[bytes, Key] = {}
    named: Mapping[str, Key] = {}
    tenants: Mapping[str, TenantSettings] = {}


NO_FILE: Final = KeyFile()


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    key: list[Key] = []
    tenant: dict[TenantName, TenantSettings] = {}


def parse_key_file(text: str) -> KeyFile:
    """Return the content of a key file.

    Raises:
        SettingsError: it is not TOML, or not a key file. The text says where, and quotes nothing of the file.
    """
    try:
        document = msgspec.convert(tomllib.loads(text), _Document)
    except msgspec.ValidationError as error:
        raise SettingsError(f"the key file does not fit ({error})") from None
    except ValueError as error:  # tomllib has a type for most of them, but not for a number of thousands of digits
        raise SettingsError(f"the key file is not TOML ({error})") from None
    except RecursionError:
        raise SettingsError("the key file is not TOML (it is nested too deeply)") from None
    keys = {bytes.fromhex(key.sha256): key for key in document.key}
    named = {key.name: key for key in document.key}
    if len(named) < len(document.key):
        raise SettingsError("the key file gives two keys the same name")
    if RESERVED & named.keys():
        raise SettingsError(f"the key file gives a key a name that is reserved: one of {', '.join(sorted(RESERVED))}")
    if len(keys) < len(document.key):
        raise SettingsError("the key file lists the same digest twice")
    return KeyFile(keys, named, document.tenant)


class WatchedKeyFile:
    """The key file of a process. `content` is always the last one that could be read."""

    def __init__(self, path: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file. Without a path, there are no keys and no settings of tenants.

        Raises:
            SettingsError: the file cannot be read.
        """
        self._file = WatchedFile("TURNWIRE_API_KEYS_FILE", path, parse_key_file, clock=clock) if path else None

    @property
    def content(self) -> KeyFile:
        """What the file says. It is looked at when a second has passed since the last time."""
        return self._file.content if self._file else NO_FILE

    def tenant(self, name: str) -> TenantSettings:
        """Return the settings of a tenant; all of them are None if the file has no table for it."""
        return self.content.tenants.get(name, NO_TENANT_SETTINGS)


def is_tenant(text: str) -> bool:
    """Whether the text may be the name of a tenant: 1 to 64 characters of `A-Z a-z 0-9 . _ -`."""
    return _TENANT.match(text) is not None


NO_TENANT_SETTINGS: Final = TenantSettings()
