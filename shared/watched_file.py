"""Reads a small file of an operator, and reads it again when it has changed."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from turnwire.shared.errors import SettingsError

LOOK_S: Final = 1.0  # how often the file is looked at, at most

logger = logging.getLogger(__name__)

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """A file that the setting `name` names. `content` is always what `parse` made of the last text that it could read.

    Nothing is done until somebody asks for the content. A new text that cannot be read is reported once.
    """

    def __init__(
        self, name: str, path: str, parse: Callable[[str], T], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the file.

        Raises:
            SettingsError: it cannot be read.
        """
        self._name = name
        self._path = Path(path)
        self._parse = parse
        self._clock = clock
        self._next_look_s = clock() + LOOK_S
        self._stamp = self._seen()
        self._content = parse(self._text())

    @property
    def content(self) -> T:
        """What the file says. It is looked at when a second has passed since the last time."""
        now_s = self._clock()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + LOOK_S
            self._look()
        return self._content

    def _look(self) -> None:
        stamp = self._seen()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._content = self._parse(self._text())
        except SettingsError as error:
            logger.error("%s; what was read before stays valid", error)  # noqa: TRY400 - a traceback says no more
        else:
            logger.info("%s: the file has changed and was read again", self._name)

    def _seen(self) -> tuple[int, ...] | None:
        """What changes when the file is replaced or written; None: there is no such file."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _text(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{self._name}: the file cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{self._name}: the file is not UTF-8") from None
