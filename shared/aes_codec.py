"""The built-in codec: AES-256-GCM with keys per tenant, from the TOML file that TURNWIRE_CODEC_KEYS_FILE names.

```toml
[tenant.acme]
current = "2026-11"  # what is written from now on is encrypted with this key
keys = { "2026-11" = "<base64 of 32 bytes>", "2026-05" = "<the one before>" }
```

Encrypted data is: version, length of the key's id, the key's id, a random nonce of 12 bytes, the ciphertext with its
tag. The tenant and the run id are authenticated with it. The file is read again when it has changed. A key that is
removed from it is destroyed: nobody can read any more what it has encrypted.
"""

import base64
import binascii
import os
import time
import tomllib
from collections.abc import Callable, Mapping
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Meta

from turnwire.shared.codec import ContentKeyError
from turnwire.shared.errors import SettingsError
from turnwire.shared.logs import hide
from turnwire.shared.watched_file import WatchedFile

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
VERSION: Final = b"\x01"

KeyId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    current: KeyId
    keys: dict[KeyId, str]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    tenant: dict[str, _Table] = {}


class TenantKeys(msgspec.Struct, frozen=True):
    """The keys of one tenant. `head`: version and id of the current key, as they begin encrypted data."""

    head: bytes
    current: AESGCM
    keys: Mapping[bytes, AESGCM]


def parse_codec_keys(text: str) -> dict[str, TenantKeys]:
    """Return the keys of each tenant.

    Raises:
        SettingsError: it is not TOML, or not a file of keys. The text quotes no key.
    """
    try:
        document = msgspec.convert(tomllib.loads(text), _Document)
    except tomllib.TOMLDecodeError:
        raise SettingsError("TURNWIRE_CODEC_KEYS_FILE: the file is not TOML") from None
    except msgspec.ValidationError as error:
        raise SettingsError(f"TURNWIRE_CODEC_KEYS_FILE: the file does not fit ({error})") from None
    return {tenant: _tenant_keys(tenant, table) for tenant, table in document.tenant.items()}


def _tenant_keys(tenant: str, table: _Table) -> TenantKeys:
    keys = {key_id.encode(): AESGCM(_key_bytes(tenant, key_id, text)) for key_id, text in table.keys.items()}
    current = table.current.encode()
    if current not in keys:
        raise SettingsError(f"TURNWIRE_CODEC_KEYS_FILE: tenant {tenant} has no key {table.current}")
    return TenantKeys(VERSION + bytes([len(current)]) + current, keys[current], keys)


def _key_bytes(tenant: str, key_id: str, text: str) -> bytes:
    hide(text)
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(f"TURNWIRE_CODEC_KEYS_FILE: key {key_id} of tenant {tenant} is not base64 of 32 bytes")
    return key


class AesGcmCodec:
    """A codec whose keys are in a file. The file is looked at once a second at most.

    Raises:
        SettingsError: the file cannot be read.
    """

    def __init__(self, path: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        if path is None:
            raise SettingsError("TURNWIRE_CODEC: aes-gcm needs TURNWIRE_CODEC_KEYS_FILE")
        self._file = WatchedFile("TURNWIRE_CODEC_KEYS_FILE", path, parse_codec_keys, clock=clock)

    def encode(self, data: bytes, *, tenant: str, run_id: str) -> bytes:
        """Encrypt with the tenant's current key."""
        keys = self._keys_of(tenant)
        nonce = os.urandom(NONCE_BYTES)
        return keys.head + nonce + keys.current.encrypt(nonce, data, _bound(tenant, run_id))

    def decode(self, data: bytes, *, tenant: str, run_id: str) -> bytes:
        """Decrypt with the key that the data names."""
        keys = self._keys_of(tenant)
        if len(data) < 2 or data[:1] != VERSION:
            raise ContentKeyError("this is not data of this codec")
        start = 2 + data[1]
        key = keys.keys.get(data[2:start])
        if key is None:
            raise ContentKeyError("the key of this data is gone")
        nonce = data[start : start + NONCE_BYTES]
        try:
            return key.decrypt(nonce, data[start + NONCE_BYTES :], _bound(tenant, run_id))
        except (InvalidTag, ValueError):
            raise ContentKeyError("this data was changed, or belongs elsewhere") from None

    def _keys_of(self, tenant: str) -> TenantKeys:
        keys = self._file.content.get(tenant)
        if keys is None:
            raise ContentKeyError("this tenant has no key")
        return keys


def _bound(tenant: str, run_id: str) -> bytes:
    return f"{tenant}\0{run_id}".encode()
