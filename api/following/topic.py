"""One turn that somebody follows: its readers, and the reads of its log that they share."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol

from turnwire.api.following.publication import Publication, joined
from turnwire.api.following.tail import Page, Tail
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.events import Cursor, Entry
from turnwire.shared.keys import TurnKey
from turnwire.shared.store.turns import TurnStore

PAGE_BYTES: Final = 262_144  # so much of a log is held per reader, or one event
FIRST_PAGE_EVENTS: Final = 64  # while nobody knows how large they are
MAX_PAGE_EVENTS: Final = 1000
LONGEST_SILENCE_S: Final = 40.0  # between two looks into the log of a turn that stays quiet
_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)

logger = logging.getLogger(__name__)


class Reader(Protocol):
    """What a topic tells those who follow its turn."""

    def offer(self, publication: Publication) -> None: ...
    def fall_behind(self) -> None: ...
    def look(self, last: Cursor | None, *, over: bool) -> None: ...
    def fail(self, error: Exception) -> None: ...
    def stop(self) -> None: ...


class _Flight:
    """A read on its way. `version` is the topic's at its start."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.tails: list[Tail] = []
        self.silent = True


class Topic:
    """Spreads publications over the readers and reads the log for those that are behind."""

    def __init__(self, key: TurnKey, store: TurnStore, group: asyncio.TaskGroup, silence_s: float) -> None:
        self.key = key
        self.readers: set[Reader] = set()
        self._store = store
        self._group = group
        self._version = 0  # counts what came in: a read that is older than the last arrival must not be shared
        self._arrived: list[Publication] = []
        self._flights: dict[Cursor | None, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._page_events = FIRST_PAGE_EVENTS
        self._silence_s = self._quiet_s = silence_s
        self._heard = 0  # the version at the last look
        self._timer = self._look_later()

    def arrived(self, publication: Publication) -> None:
        """Spread it over the readers, together with what arrives in the same moment: a write to each costs most."""
        self._version += 1
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._spread)
        self._arrived.append(publication)

    def _spread(self) -> None:
        arrived, self._arrived = self._arrived, []
        for publication in joined(arrived):
            for reader in self.readers:
                reader.offer(publication)

    def subscribed(self) -> None:
        """Redis confirmed the subscription, the first time or again: what it published before may have been missed."""
        self._version += 1
        for reader in self.readers:
            reader.fall_behind()

    def ask(self, tail: Tail, silent: bool) -> None:
        """Read the log after the tail's cursor; tails at the same place share one read.

        `silent`: nothing came for long, so look also whether anything can still come.
        """
        flight = self._flights.get(tail.cursor)
        if flight is None or flight.version != self._version:
            flight = self._flights[tail.cursor] = _Flight(self._version)
            self._start(self._fly(flight, tail.cursor))
        flight.tails.append(tail)
        flight.silent = flight.silent and silent

    def close(self) -> None:
        """The last reader has left."""
        self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look_later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._quiet_s, self._look_if_silent)

    def _look_if_silent(self) -> None:
        if self._version == self._heard:
            self._start(self._look())
        else:
            self._heard, self._quiet_s = self._version, self._silence_s
            self._timer = self._look_later()

    async def _look(self) -> None:
        """Nothing came for long: ask the log once for all readers, and ever less often while it stays quiet."""
        try:
            last, over = await self._store.standing(self.key)
        except StoreUnavailable:
            pass  # later
        except Exception as error:  # noqa: BLE001 - see _fly
            self._fail(tuple(self.readers), error)
        else:
            for reader in tuple(self.readers):
                reader.look(last, over=over)
            self._quiet_s = min(self._quiet_s * 2, max(LONGEST_SILENCE_S, self._silence_s))
        self._timer = self._look_later()

    def _fail(self, readers: Sequence[Reader], error: Exception) -> None:
        logger.error("a turn's log cannot be read", extra={"run_id": self.key.run_id}, exc_info=error)
        for reader in readers:
            reader.fail(error)

    async def _fly(self, flight: _Flight, cursor: Cursor | None) -> None:
        try:
            page = await self._read(flight, cursor)
        except Exception as error:  # noqa: BLE001 - a defect in one turn must not end the streams of all
            self._fail(flight.tails, error)
            return
        finally:
            if self._flights.get(cursor) is flight:
                del self._flights[cursor]
        for tail in flight.tails:
            tail.land(page)

    async def _read(self, flight: _Flight, cursor: Cursor | None) -> Page:
        failures = 0
        while True:
            flight.version = self._version
            try:
                # the record first: an empty read after a terminal record means that nothing more can come
                over = flight.silent and await self._over()
                entries = await self._store.read(self.key, cursor, limit := self._page_events)
            except StoreUnavailable:
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1
            else:
                self._learn_size(entries)
                page = _within(entries, PAGE_BYTES)
                more = len(entries) == limit or len(page) < len(entries)
                return Page(page, more=more, gone=over and not entries)

    async def _over(self) -> bool:
        record = await self._store.record(self.key)
        return record is None or record.terminal

    def _learn_size(self, entries: Sequence[Entry]) -> None:
        if entries:
            mean_bytes = sum(len(entry.event) for entry in entries) // len(entries)
            self._page_events = max(1, min(MAX_PAGE_EVENTS, PAGE_BYTES // max(1, mean_bytes)))


def _within(entries: list[Entry], max_bytes: int) -> list[Entry]:
    """As many as fit, at least one: the size of events is only known once they are read."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry.event)
        if size > max_bytes and count:
            return entries[:count]
    return entries
