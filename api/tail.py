"""One reader's place in a turn's log: where it stands, what waits for it, whether it must read.

A tail is *live* while publications continue its cursor. Whatever breaks that (joining, a gap, a new attempt, a new
connection, a full buffer, a long silence) does the same thing: it falls *behind*, and the next thing it does is to
read the log after its own cursor. The log is the truth; a publication is only its fastest copy.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Self

import msgspec

from api.publication import Publication
from shared.events import Cursor, Entry

LONGEST_SILENCE_S: Final = 40.0  # between two looks into the log of a turn that stays quiet


class Page(msgspec.Struct, frozen=True):
    """An answer of the log. `more`: it was cut at its limit. `gone`: nothing will ever follow."""

    entries: list[Entry]
    more: bool = False
    gone: bool = False


class Tail:
    """Iterates batches of entries, oldest first, and ends after the terminal event or when it is stopped.

    An empty batch says that nothing happened for `idle_s` seconds; None: silence is never reported.
    """

    def __init__(
        self, after: Cursor | None, *, ask: Callable[["Tail", bool], None], buffer_bytes: int, silence_s: float,
        idle_s: float | None, stall_s: float | None = None, phase: float = 0.0,
    ) -> None:  # fmt: skip
        self.cursor = after
        self.stall_s = stall_s  # for whoever sends it: how long its client may take nothing; None: for ever
        self._ask = ask  # asks for a page after the cursor; it comes through `land`
        self._buffer_bytes = buffer_bytes
        self._silence_s = self._quiet_s = silence_s
        self._phase = phase
        self._idle_s = idle_s
        self._wake = asyncio.Event()
        self._inbox: deque[Publication] = deque()
        self._inbox_bytes = 0
        self._overflowed = False
        self._behind = True
        self._silent = False  # behind only because nothing came for long
        self._asked = False
        self._page: Page | None = None
        self._ended = False
        self._error: Exception | None = None

    def offer(self, publication: Publication) -> None:
        """Take a publication; a reader that is too slow for its buffer drops it and falls behind."""
        if self._overflowed:
            return  # the page that it will ask for has it: until then a stalled reader holds nothing
        self._inbox.append(publication)
        self._inbox_bytes += publication.size
        if self._inbox_bytes > self._buffer_bytes:
            self._empty_inbox()
            self._behind = self._overflowed = True
        self._wake.set()

    def fall_behind(self) -> None:
        """Publications may have been lost."""
        self._behind = True
        self._wake.set()

    def land(self, page: Page) -> None:
        """Take the page that was asked for."""
        self._asked = False
        self._page = page
        self._wake.set()

    def fail(self, error: Exception) -> None:
        """End with an error instead of a page: a defect, not an outage."""
        self._error = error
        self._wake.set()

    def stop(self) -> None:
        """End now; the reader may go on elsewhere from its cursor."""
        self._ended = True
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Entry]:
        now = asyncio.get_running_loop().time
        idle_at = None if self._idle_s is None else now() + self._idle_s
        silent_at = self._silent_at(now())
        while True:
            if self._error:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            if batch := self._collect():
                self._quiet_s = self._silence_s
                return batch
            if self._ended:
                raise StopAsyncIteration
            self._ask_if_behind()
            self._wake.clear()
            if await self._woken(silent_at if idle_at is None else min(idle_at, silent_at)):
                continue
            if idle_at is not None and now() >= idle_at:
                return []
            self._behind = self._silent = True
            self._quiet_s = min(self._quiet_s * 2, max(LONGEST_SILENCE_S, self._silence_s))
            silent_at = self._silent_at(now())

    def _silent_at(self, now: float) -> float:
        """When to look into the log if nothing comes. Tails of a turn look at the same moment, so one read serves all;
        those of different turns do not, and a turn that stays quiet is looked at ever less often.
        """
        shifted = now + self._phase * self._quiet_s
        return (shifted // self._quiet_s + 2) * self._quiet_s - self._phase * self._quiet_s

    async def _woken(self, deadline: float) -> bool:
        try:
            async with asyncio.timeout_at(deadline):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def _ask_if_behind(self) -> None:
        if self._behind and not self._asked:
            self._behind, self._asked = False, True  # what comes from here on is newer than the page, or in it
            self._overflowed = False
            self._ask(self, self._silent)
            self._silent = False

    def _collect(self) -> list[Entry]:
        if self._page is not None:
            return self._take_page(self._page)
        if self._asked or self._behind:
            return []
        return self._take_inbox()

    def _take_page(self, page: Page) -> list[Entry]:
        self._page = None
        self._behind = self._behind or page.more
        if page.entries:
            last = page.entries[-1]
            self.cursor = Cursor.parse(last.id.decode())
            self._ended = last.terminal
            return page.entries
        self._ended = page.gone
        return [] if self._behind or self._ended else self._take_inbox()

    def _take_inbox(self) -> list[Entry]:
        batch: list[Entry] = []
        while self._inbox and not self._ended:
            publication = self._inbox.popleft()
            self._inbox_bytes -= publication.size
            fresh = publication.after(self.cursor)
            if fresh is None:  # a gap: the log has it
                self._behind = True
                break
            if fresh:
                batch += fresh
                self.cursor = publication.last
                self._ended = publication.terminal
        return batch

    def _empty_inbox(self) -> None:
        self._inbox.clear()
        self._inbox_bytes = 0
