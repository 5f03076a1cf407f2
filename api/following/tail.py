"""One reader's place in a turn's log: where it stands, what waits for it, whether it must read.

A tail is *live* while publications continue its cursor. Whatever breaks that (joining, a gap, a new attempt, a new
connection, a full buffer, a long silence) does the same thing: it falls *behind*, and the next thing it does is to
read the log after its own cursor. The log is the truth; a publication is only its fastest copy.
"""

import asyncio
from collections.abc import Callable
from typing import Self

import msgspec

from turnwire.api.following.publication import Publication
from turnwire.shared.events import Cursor, Entry


class Page(msgspec.Struct, frozen=True):
    """An answer of the log. `more`: it was cut at its limit. `gone`: nothing will ever follow."""

    entries: list[Entry]
    more: bool = False
    gone: bool = False


class Tail:
    """Iterates batches of entries, oldest first, and ends after the terminal event or when it is stopped.

    An empty batch says that nothing happened for `idle_s` seconds; None: silence is never reported.

    While the iteration waits at the end of the log, a publication goes to `push` first: one call writes it to the
    client, without waking a task for each reader. False: it does not take it, so it comes as a batch.
    """

    __slots__ = (
        "_ask", "_asked", "_behind", "_buffer_bytes", "_ended", "_error", "_heard_at_s", "_idle_s", "_inbox",
        "_inbox_bytes", "_live", "_overflowed", "_page", "_silent", "_waiter", "cursor", "push",
    )  # fmt: skip

    def __init__(
        self, after: Cursor | None, *, ask: Callable[["Tail", bool], None], buffer_bytes: int, idle_s: float | None
    ) -> None:  # fmt: skip
        self.cursor = after
        self.push: Callable[[Publication], bool] | None = None
        self._ask = ask  # asks for a page after the cursor; it comes through `land`
        self._buffer_bytes = buffer_bytes
        self._idle_s = idle_s
        self._heard_at_s = 0.0  # loop time of the last event
        self._waiter: asyncio.Future[None] | None = None
        self._live = False  # it waits, and has all that there is
        self._inbox: list[Publication] = []
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
        if self._live and self.push and publication.before == self.cursor and self.push(publication):
            self._pushed(publication)
            return
        self._inbox.append(publication)
        self._inbox_bytes += publication.size
        if self._inbox_bytes > self._buffer_bytes:
            self._inbox, self._inbox_bytes = [], 0
            self._behind = self._overflowed = True
        self._wake()

    def _pushed(self, publication: Publication) -> None:
        self.cursor = publication.last
        if self._idle_s is not None:
            self._heard_at_s = asyncio.get_running_loop().time()
        if publication.terminal:
            self.stop()

    def fall_behind(self) -> None:
        """Publications may have been lost."""
        self._behind = True
        self._wake()

    def look(self, last: Cursor | None, *, over: bool) -> None:
        """Nothing came for long; the log's last event is `last`, and if the turn is `over`, nothing can follow it."""
        if over or last != self.cursor:
            self._silent = over
            self.fall_behind()

    def land(self, page: Page) -> None:
        """Take the page that was asked for."""
        self._asked = False
        self._page = page
        self._wake()

    def fail(self, error: Exception) -> None:
        """End with an error instead of a page: a defect, not an outage."""
        self._error = error
        self._wake()

    def stop(self) -> None:
        """End now; the reader may go on elsewhere from its cursor."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._live = False
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Entry]:
        loop = asyncio.get_running_loop()
        self._heard_at_s = loop.time()
        while True:
            if self._error:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            if batch := self._collect():
                return batch
            if self._ended:
                raise StopAsyncIteration
            waiter = self._waiter = loop.create_future()
            self._ask_if_behind()
            self._live = not self._asked
            try:
                async with asyncio.timeout_at(None if self._idle_s is None else self._heard_at_s + self._idle_s):
                    await waiter
            except TimeoutError:
                if self._idle_s and loop.time() >= self._heard_at_s + self._idle_s:  # nothing was pushed meanwhile
                    self._live = False
                    return []

    def _ask_if_behind(self) -> None:
        if self._behind and not self._asked:
            self._behind, self._asked = False, True  # what comes from here on is newer than the page, or in it
            self._overflowed = False
            silent, self._silent = self._silent, False
            self._ask(self, silent)

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
        taken = 0
        while taken < len(self._inbox) and not self._ended:
            publication = self._inbox[taken]
            taken += 1
            self._inbox_bytes -= publication.size
            fresh = publication.after(self.cursor)
            if fresh is None:  # a gap: the log has it
                self._behind = True
                break
            if fresh:
                batch += fresh
                self.cursor = publication.last
                self._ended = publication.terminal
        del self._inbox[:taken]
        return batch
