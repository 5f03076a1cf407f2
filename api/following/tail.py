"""One reader of a turn's log: its cursor, its inbox, and whether it has to read the log.

The log is the truth; a publication is only its fastest copy. A reader therefore takes publications only while each
of them continues its cursor. Whatever breaks that (joining, a gap, a new attempt, a new connection to Redis, a full
inbox, a long silence) is handled in one way: the reader is behind, and reads the log after its own cursor.

                                             join a new turn
                                                    │
                                                    ▼
    join ──► BEHIND ──ask──► READING ──whole page──► CURRENT ◄──wait, wake──► LIVE
               ▲                │                       │                      │
               │              loss                      │                      │
               │                ▼                       │                      │
               ├──── page ──── STALE                    │                      │
               └──────────────────────── loss ──────────┴──────────────────────┘

A page that was cut at its limit also leads from READING to BEHIND, because the next one has to be asked for.
"Loss" means that events may be missing: `fall_behind`, a gap in the publications, or an inbox that was full. From
every place the reader comes to ENDED: by the terminal event, by a page that says that the turn is over, or by `stop`.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Final, Self

import msgspec

from turnwire.api.following.publication import Publication
from turnwire.shared.events import Cursor, Entry


class Page(msgspec.Struct, frozen=True):
    """A page of the log. `more`: it was cut at its limit. `over`: it is empty, and no event will ever follow."""

    entries: list[Entry]
    more: bool = False
    over: bool = False


class Place(Enum):
    """The state of a reader in relation to the log."""

    BEHIND = "the reader has to read the log; publications wait in its inbox"
    READING = "a page is on its way; publications wait in its inbox"
    STALE = "a page is on its way, but events after it may have been lost, so the reader has to read once more"
    CURRENT = "the reader has all events before those in its inbox, and is busy with a batch"
    LIVE = "the reader has every event and waits for the next publication"
    ENDED = "the reader gets nothing any more"


BEHIND, READING, STALE = Place.BEHIND, Place.READING, Place.STALE
CURRENT, LIVE, ENDED = Place.CURRENT, Place.LIVE, Place.ENDED

AFTER_LOSS: Final = {READING: STALE, CURRENT: BEHIND, LIVE: BEHIND}
AFTER_WHOLE_PAGE: Final = {READING: CURRENT, STALE: BEHIND}
AFTER_CUT_PAGE: Final = {READING: BEHIND, STALE: BEHIND}


class Tail:
    """Iterates batches of entries, oldest first, and ends after the terminal event or when it is stopped.

    An empty batch says that nothing happened for `idle_s` seconds; with None, silence is never reported.

    While the iteration waits at the end of the log, each publication goes to `push` first. One call writes it to the
    client, without waking a task for each reader. If `push` returns False, the publication comes as a batch instead.

    `is_behind`: whether the log may hold events after the cursor already, so that the tail has to read it first.
    """

    __slots__ = (
        "_ask", "_buffer_bytes", "_check_over", "_error", "_heard_at_s", "_idle_s", "_inbox", "_inbox_bytes", "_page",
        "_place", "_waiter", "cursor", "push",
    )  # fmt: skip

    def __init__(
        self,
        after: Cursor | None,
        *,
        ask: Callable[["Tail", bool], None],
        buffer_bytes: int,
        idle_s: float | None,
        is_behind: bool = True,
    ) -> None:
        self.cursor = after
        self.push: Callable[[Publication], bool] | None = None
        self._ask = ask  # asks for a page after the cursor, which comes through `land`; see Topic.ask
        self._buffer_bytes = buffer_bytes
        self._idle_s = idle_s
        self._heard_at_s = 0.0  # loop time of the last event
        self._waiter: asyncio.Future[None] | None = None
        self._place = BEHIND if is_behind else CURRENT
        self._check_over = False  # whether the next read has to tell if the turn is over
        self._inbox: list[Publication] | None = []  # None: it was full, and is closed until the log is asked
        self._inbox_bytes = 0
        self._page: Page | None = None
        self._error: Exception | None = None

    def offer(self, publication: Publication) -> None:
        """Take a publication. A reader that is too slow for its buffer drops all of them and falls behind."""
        if self._place is LIVE and self.push and publication.before == self.cursor and self.push(publication):
            self._pushed(publication)
            return
        if self._inbox is None:
            return  # the next page will have it; until then, a reader that stalls holds no events in memory
        self._inbox.append(publication)
        self._inbox_bytes += publication.size
        if self._inbox_bytes > self._buffer_bytes:
            self._inbox, self._inbox_bytes = None, 0
            self._lose()
        self._wake()

    def _pushed(self, publication: Publication) -> None:
        self.cursor = publication.last
        if self._idle_s is not None:
            self._heard_at_s = asyncio.get_running_loop().time()
        if publication.terminal:
            self.stop()

    def fall_behind(self) -> None:
        """Read the log, because publications may have been lost."""
        self._lose()
        self._wake()

    def silent(self, last: Cursor | None, *, over: bool) -> None:
        """Read the log if it has events that did not come. Nothing was published for long.

        `last`: the cursor of the log's last event. `over`: the turn is terminal or gone.
        """
        if over or last != self.cursor:
            self._check_over = self._check_over or over
            self.fall_behind()

    def erased(self) -> None:
        """End, because the turn's session was erased.

        A reader that has no events yet may belong to a new turn with the same key. So it reads the log first, and ends
        only if there is no turn.
        """
        if self.cursor is not None:
            self.stop()
        else:
            self._check_over = True
            self.fall_behind()

    def land(self, page: Page) -> None:
        """Take the page that was asked for."""
        self._page = page
        after = AFTER_CUT_PAGE if page.more else AFTER_WHOLE_PAGE
        self._place = after.get(self._place, self._place)
        self._wake()

    def fail(self, error: Exception) -> None:
        """End with an error, because a defect prevents that the log is read."""
        self._error = error
        self._wake()

    def stop(self) -> None:
        """End now. The client may continue from its cursor in another process."""
        self._place = ENDED
        self._wake()

    def _lose(self) -> None:
        self._place = AFTER_LOSS.get(self._place, self._place)

    def _wake(self) -> None:
        if self._place is LIVE:
            self._place = CURRENT
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Entry]:
        self._heard_at_s = asyncio.get_running_loop().time()
        while not self._ended():
            if batch := self._collect():
                return batch
            if not self._ended() and await self._wait():
                return []
        if self._error:
            raise self._error
        raise StopAsyncIteration

    def _ended(self) -> bool:
        return self._place is ENDED or self._error is not None

    async def _wait(self) -> bool:
        """Wait until something may have changed. Returns True if instead nothing happened for `idle_s` seconds."""
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        if self._place is BEHIND:
            self._ask_for_page()
        elif self._place is CURRENT:
            self._place = LIVE
        try:
            async with asyncio.timeout_at(None if self._idle_s is None else self._heard_at_s + self._idle_s):
                await waiter
        except TimeoutError:
            if self._place is LIVE:
                self._place = CURRENT
            # a push does not wake this task, so the time may have been put off meanwhile
            return self._idle_s is not None and loop.time() >= self._heard_at_s + self._idle_s
        return False

    def _ask_for_page(self) -> None:
        self._place = READING  # what is published from here on is newer than the page, or in it
        if self._inbox is None:
            self._inbox = []
        check_over, self._check_over = self._check_over, False
        self._ask(self, check_over)

    def _collect(self) -> list[Entry]:
        if self._page is not None:
            page, self._page = self._page, None
            if page.entries:
                last = page.entries[-1]
                self.cursor = Cursor.parse(last.id.decode())
                if last.terminal:
                    self._place = ENDED
                return page.entries
            if page.over:
                self._place = ENDED
        return self._take_inbox() if self._place is CURRENT else []

    def _take_inbox(self) -> list[Entry]:
        batch: list[Entry] = []
        inbox = self._inbox or []
        taken = 0
        while taken < len(inbox) and self._place is CURRENT:
            publication = inbox[taken]
            taken += 1
            self._inbox_bytes -= publication.size
            fresh = publication.after(self.cursor)
            if fresh is None:  # a gap: the log has what is missing
                self._lose()
            elif fresh:
                batch += fresh
                self.cursor = publication.last
                if publication.terminal:
                    self._place = ENDED
        del inbox[:taken]
        return batch
