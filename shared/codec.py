"""The payload codec: it encrypts what is content before that reaches Redis, and decrypts what comes from there.

A codec is any object with these two methods. They are called in the event loop, for every event, so they must be quick
and must not wait. TURNWIRE_CODEC names one.
"""

import importlib
from typing import Protocol, runtime_checkable

from turnwire.shared.errors import SettingsError
from turnwire.shared.settings import Settings

BUILT_IN = "aes-gcm"


class ContentKeyError(Exception):
    """The codec has no key for this tenant, or not the one that the data needs; or the data was changed."""


@runtime_checkable
class Codec(Protocol):
    """Encrypts and decrypts content.

    `tenant` says whose content it is. `run_id` names its turn: a codec should bind the data to it, so that nobody can
    pass off the content of one turn as that of another.
    """

    def encode(self, data: bytes, *, tenant: str, run_id: str) -> bytes:
        """Encrypt. Raises ContentKeyError if there is no key for the tenant."""

    def decode(self, data: bytes, *, tenant: str, run_id: str) -> bytes:
        """Decrypt what `encode` made. Raises ContentKeyError if that is not possible."""


def codec_of(settings: Settings) -> Codec | None:
    """Return the codec that TURNWIRE_CODEC names; None: content is stored as it is.

    Raises:
        SettingsError: it cannot be imported, is no codec, or its keys cannot be read.
    """
    if settings.codec is None:
        return None
    if settings.codec == BUILT_IN:
        try:
            from turnwire.shared.aes_codec import AesGcmCodec
        except ImportError:
            raise SettingsError("TURNWIRE_CODEC: aes-gcm needs the library `cryptography`") from None
        return AesGcmCodec(settings.codec_keys_file)
    module_name, colon, attribute = settings.codec.partition(":")
    if not (module_name and colon and attribute):
        raise SettingsError(f"TURNWIRE_CODEC: {settings.codec!r} is neither aes-gcm nor module:attribute")
    try:
        codec = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise SettingsError(f"TURNWIRE_CODEC: {settings.codec}: {type(error).__name__}: {error}") from error
    if isinstance(codec, type) or not isinstance(codec, Codec):
        raise SettingsError(f"TURNWIRE_CODEC: {settings.codec} has no methods encode and decode")
    return codec
