"""Secrets that several parties share, in order to sign tokens: two at a time, so that they can be rotated."""

import time
from collections.abc import Callable
from typing import Final

from turnwire.shared.errors import SettingsError
from turnwire.shared.logs import hide
from turnwire.shared.watched_file import WatchedFile

SHORTEST: Final = 32  # characters: with a shorter one, HS256 would be weaker than its digest
MOST: Final = 2


class SharedSecrets:
    """Up to two secrets, from a setting or from a file. The first one signs, and each of them verifies.

    To rotate: put the new secret first and keep the old one behind it, until all tokens of the old one have expired.
    """

    def __init__(
        self, name: str, text: str | None, path: str | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the secrets of the setting `name`, or of the file that the setting `name` + `_FILE` names.

        Raises:
            SettingsError: there are more than two, one is too short, or the file cannot be read.
        """

        def parse(read: str) -> tuple[str, ...]:
            return _parsed(name, read)

        self._current: Callable[[], tuple[str, ...]]
        if path:
            file = WatchedFile(f"{name}_FILE", path, parse, clock=clock)
            self._current = lambda: file.content
        else:
            secrets = parse(text or "")
            self._current = lambda: secrets

    @property
    def current(self) -> tuple[str, ...]:
        """The secrets that count now, the one that signs first. It is the same object until they change."""
        return self._current()


def _parsed(name: str, text: str) -> tuple[str, ...]:
    secrets = tuple(text.split())
    if not 1 <= len(secrets) <= MOST:
        raise SettingsError(f"{name}: it must be one secret, or two with a space or a new line between them")
    for secret in secrets:
        hide(secret)
    if any(len(secret) < SHORTEST for secret in secrets):
        raise SettingsError(f"{name}: a secret must have at least {SHORTEST} characters")
    return secrets
