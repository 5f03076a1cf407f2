"""Waits for the end of a turn without reading its events. The turn's publications tell when to look."""

import asyncio

from turnwire.api.following.publication import Publication
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.events import Cursor
from turnwire.shared.keys import TurnKey
from turnwire.shared.store.turns import TurnStore


class EndWaiter:
    """One request that waits for the end of one turn. A topic calls its methods, see Reader in topic.py."""

    def __init__(self, key: TurnKey, store: TurnStore) -> None:
        self._key = key
        self._store = store
        self._wake = asyncio.Event()
        self._stopped = False

    def offer(self, publication: Publication) -> None:
        """Look at the turn's record if this publication ends the log."""
        if publication.terminal:
            self._wake.set()

    def fall_behind(self) -> None:
        """Look at the record, because publications may have been lost."""
        self._wake.set()

    def silent(self, _: Cursor | None, *, over: bool) -> None:
        """Look at the record if the turn is `over`. Nothing was published for long."""
        if over:
            self._wake.set()

    def erased(self) -> None:
        """Look at the record, because the turn's session was erased."""
        self._wake.set()

    def fail(self, _: Exception) -> None:
        """Look at the record. The log cannot be read, but the record may still tell whether the turn is over."""
        self._wake.set()

    def stop(self) -> None:
        """Stop waiting."""
        self._stopped = True
        self._wake.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when the turn is terminal or gone, when `timeout_s` seconds have passed, or after `stop`."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._stopped:
                    self._wake.clear()
                    if await self._over():
                        return
                    await self._wake.wait()
        except TimeoutError:
            return

    async def _over(self) -> bool:
        try:
            record = await self._store.record(self._key)
        except StoreUnavailable:
            return False
        return record is None or record.terminal
