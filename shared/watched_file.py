"""Reads a small file of an operator, and reads it again when it has changed."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Final, Generic, TypeVar

from turnwire.shared.errors import SettingsError

LOOK_S: Final = 1.0  # how often the file is looked at, at most
SETTLE_S: Final = 0.05  # a file must have stayed as it is for so long before it is read

logger = logging.getLogger(__name__)

T = TypeVar("T")


Stamp = tuple[int, ...] | None


class WatchedFile(Generic[T]):
    """A file that the setting `name` names. `content` is always what `parse` made of the last text that it could read.

    Nothing is done until somebody asks for the content. Under an event loop, a thread looks at the file, because a disk
    may be slow: who asks gets what is known, and a little later what is new. A new text that cannot be used is reported
    once, and tried again at each look, because what it names may not be there yet, such as the file of a key.

    Many tools empty a file before they write it. Half a file may be readable, and would take away what is missing in
    it. So a file that is still changing is left for the next look.
    """

    def __init__(
        self,
        name: str,
        path: str,
        parse: Callable[[str], T],
        *,
        clock: Callable[[], float] = time.monotonic,
        parse_in_thread: bool = True,
    ) -> None:
        """Read the file. `parse_in_thread`: False if `parse` uses what belongs to the event loop.

        Raises:
            SettingsError: it cannot be read.
        """
        self._name = name
        self._path = Path(path)
        self._parse = parse
        self._clock = clock
        self._parse_in_thread = parse_in_thread
        self._next_look_s = clock() + LOOK_S
        self._stamp = self._seen()
        self._content = parse(self._text())
        self._refused: tuple[Stamp, str] | None = None  # what the log has said last of a text that cannot be used
        self._looking: asyncio.Future[Callable[[], None]] | None = None

    @property
    def content(self) -> T:
        """What the file says. It is looked at when a second has passed since the last time."""
        now_s = self._clock()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + LOOK_S
            self._begin_look()
        return self._content

    def _begin_look(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._look()()
            return
        if self._looking is None or self._looking.get_loop() is not loop:
            self._looking = loop.run_in_executor(None, self._look)
            self._looking.add_done_callback(self._looked)

    def _looked(self, looking: "asyncio.Future[Callable[[], None]]") -> None:
        self._looking = None
        if not looking.cancelled():
            looking.result()()

    def _look(self) -> Callable[[], None]:
        """Look at the file. Returns what is left to do, in the thread of who asked."""
        stamp = self._seen()
        if stamp == self._stamp:
            return lambda: None
        sleep(SETTLE_S)
        try:
            text = self._text()
            if self._seen() != stamp:
                return lambda: None
            content = self._parse(text) if self._parse_in_thread else None
        except SettingsError as error:
            refusal = error  # `error` itself is gone at the end of this block
            return lambda: self._refuse(stamp, refusal)
        if content is None:
            return lambda: self._parse_here(stamp, text)
        return lambda: self._take(stamp, content)

    def _parse_here(self, stamp: Stamp, text: str) -> None:
        try:
            content = self._parse(text)
        except SettingsError as error:
            self._refuse(stamp, error)
        else:
            self._take(stamp, content)

    def _take(self, stamp: Stamp, content: T) -> None:
        self._stamp, self._content, self._refused = stamp, content, None
        logger.info("%s: the file has changed and was read again", self._name)

    def _refuse(self, stamp: Stamp, error: SettingsError) -> None:
        refused = stamp, str(error)
        if refused == self._refused:
            return
        self._refused = refused
        logger.error("%s; what was read before stays valid", error)

    def _seen(self) -> Stamp:
        """What changes when the file is replaced or written; None: there is no such file."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino, status.st_size

    def _text(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{self._name}: the file cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{self._name}: the file is not UTF-8") from None
