"""One turn that somebody follows: its readers, and the reads of its log, which they share.

    a message of the channel ──► arrived ──► _deliver ─────────────────────► Reader.offer
    a (new) subscription ──────► subscribed ──► read_again ────────────────► Reader.fall_behind
    a Tail that is behind ─────► ask ──► SharedRead ──► _read ─────────────► Tail.land, or Reader.fail
    silence for long ──────────► _check ──► store.standing ────────────────► Reader.silent, or Reader.fail
    the session is erased ─────► erased ───────────────────────────────────► Reader.erased

A read may be shared only by tails that ask before the next message arrives: a tail that joined after a message was
never offered it, and a read that began earlier may not hold it. `_version` counts what arrived and tells such reads.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol

from turnwire.api.following.publication import Publication, joined
from turnwire.api.following.tail import Page, Tail
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.events import Cursor, Entry
from turnwire.shared.keys import TurnKey
from turnwire.shared.log_context import nowhere
from turnwire.shared.store.turns import TurnStore

PAGE_BYTES: Final = 262_144  # at most so much of a log is held for one reader, unless one event is larger
FIRST_PAGE_EVENTS: Final = 64  # the size of a page while the size of the events is not known
MAX_PAGE_EVENTS: Final = 1000
LONGEST_SILENCE_S: Final = 40.0  # the longest time between two checks of a turn that stays silent
FIRST_EVENT_S: Final = 0.05  # how long the first event of a new turn is expected before its log is read
_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)

logger = logging.getLogger(__name__)


class Reader(Protocol):
    """The calls that a topic makes to each follower of its turn."""

    def offer(self, publication: Publication) -> None: ...
    def fall_behind(self) -> None: ...
    def silent(self, last: Cursor | None, *, over: bool) -> None: ...
    def erased(self) -> None: ...
    def fail(self, error: Exception) -> None: ...
    def stop(self) -> None: ...


class SharedRead:
    """A read of the log that is on its way, and the tails that wait for it. `version`: the topic's at its start."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.tails: list[Tail] = []
        self.check_over = True  # becomes False when a tail joins that does not ask for it


class Topic:
    """Passes publications on to the readers, and reads the log for those that are behind."""

    def __init__(self, key: TurnKey, store: TurnStore, group: asyncio.TaskGroup, silence_s: float) -> None:
        self.key = key
        self.readers: set[Reader] = set()
        self._store = store
        self._group = group
        self._version = 0  # counts what arrived
        self._arrived: list[Publication] = []
        self._reads: dict[Cursor | None, SharedRead] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._page_events = FIRST_PAGE_EVENTS
        self._expects_first: Tail | None = None
        self._first_timer: asyncio.TimerHandle | None = None
        self._silence_s = self._next_check_s = silence_s
        self._checked_version = 0
        self._timer = self._check_later()

    def arrived(self, publication: Publication) -> None:
        """Deliver it at the end of this loop iteration, joined with publications that arrive in the same iteration.

        The write to each reader costs most of all, and this way there is one instead of several.
        """
        self._version += 1
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._arrived.append(publication)

    def _deliver(self) -> None:
        arrived, self._arrived = self._arrived, []
        for publication in joined(arrived):
            for reader in self.readers:
                reader.offer(publication)

    def expect_first(self, tail: Tail) -> None:
        """Let this tail not read the log as soon as the subscription begins: its turn is new, and the log was empty."""
        self._expects_first = tail
        loop = asyncio.get_running_loop()
        self._first_timer = loop.call_later(FIRST_EVENT_S, self._read_if_nothing_came, tail, context=nowhere())

    def subscribed(self) -> None:
        """Take note that publications begin to arrive. What was published before is only in the log."""
        new, self._expects_first = self._expects_first, None
        self.read_again(but=new)

    def _read_if_nothing_came(self, new: Tail) -> None:
        """A worker may have published the first event before the subscription. A second one would show the gap."""
        if self._expects_first is new:
            self._expects_first = None  # the subscription has not begun, and the tail reads once more when it does
        if new.cursor is None:
            new.fall_behind()

    def read_again(self, but: Reader | None = None) -> None:
        """Let every reader except `but` read the log, because it may hold events that were not published to them."""
        self._version += 1
        for reader in self.readers:
            if reader is not but:
                reader.fall_behind()

    def erased(self) -> None:
        """Tell every reader that the turn's session was erased."""
        self._version += 1
        for reader in self.readers:
            reader.erased()

    def ask(self, tail: Tail, check_over: bool) -> None:
        """Read the log after the tail's cursor; the page comes through `Tail.land`.

        `check_over`: if the page is empty, find out whether the turn is over. Tails at the same cursor share one read,
        which checks this only if all of them want it.
        """
        read = self._reads.get(tail.cursor)
        if read is None or read.version != self._version:
            read = self._reads[tail.cursor] = SharedRead(self._version)
            self._start(self._run(read, tail.cursor))
        read.tails.append(tail)
        read.check_over = read.check_over and check_over

    def close(self) -> None:
        """Stop all work of the topic, because its last reader has left."""
        self._timer.cancel()
        if self._first_timer is not None:
            self._first_timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work, context=nowhere())  # not only for the request that asks first
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check_later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._next_check_s, self._check_if_silent, context=nowhere())

    def _check_if_silent(self) -> None:
        if self._version == self._checked_version:
            self._start(self._check())
        else:
            self._checked_version, self._next_check_s = self._version, self._silence_s
            self._timer = self._check_later()

    async def _check(self) -> None:
        """Ask the store, once for all readers, because nothing came for long. The checks of a silent turn get rarer."""
        try:
            last, over = await self._store.standing(self.key)
        except StoreUnavailable:
            pass  # the next check may get an answer
        except Exception as error:  # noqa: BLE001 - a defect in one turn must not end the streams of all
            self._fail(tuple(self.readers), error)
        else:
            for reader in tuple(self.readers):
                reader.silent(last, over=over)
            self._next_check_s = min(self._next_check_s * 2, max(LONGEST_SILENCE_S, self._silence_s))
        self._timer = self._check_later()

    def _fail(self, readers: Sequence[Reader], error: Exception) -> None:
        logger.error("a turn's log cannot be read", extra={"run_id": self.key.run_id}, exc_info=error)
        for reader in readers:
            reader.fail(error)

    async def _run(self, read: SharedRead, cursor: Cursor | None) -> None:
        try:
            page = await self._read(read, cursor)
        except Exception as error:  # noqa: BLE001 - a defect in one turn must not end the streams of all
            self._fail(read.tails, error)
            return
        finally:
            if self._reads.get(cursor) is read:
                del self._reads[cursor]
        for tail in read.tails:
            tail.land(page)

    async def _read(self, read: SharedRead, cursor: Cursor | None) -> Page:
        failures = 0
        while True:
            read.version = self._version
            limit = self._page_events
            try:
                # the record first: if it is terminal, a later empty read means that nothing more can come
                over = read.check_over and await self._over()
                entries = await self._store.read(self.key, cursor, limit)
            except StoreUnavailable:
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1
            else:
                self._learn_size(entries)
                page = _within(entries, PAGE_BYTES)
                more = len(entries) == limit or len(page) < len(entries)
                return Page(page, more=more, over=over and not entries)

    async def _over(self) -> bool:
        record = await self._store.record(self.key)
        return record is None or record.terminal

    def _learn_size(self, entries: Sequence[Entry]) -> None:
        if entries:
            mean_bytes = sum(len(entry.event) for entry in entries) // len(entries)
            self._page_events = max(1, min(MAX_PAGE_EVENTS, PAGE_BYTES // max(1, mean_bytes)))


def _within(entries: list[Entry], max_bytes: int) -> list[Entry]:
    """Return as many entries as fit into `max_bytes`, and at least one."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry.event)
        if size > max_bytes and count:
            return entries[:count]
    return entries
