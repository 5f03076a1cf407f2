"""Keeps the door's list of revoked tokens up to date: at the start, when one is told of, and now and then."""

import asyncio
import logging
from typing import Final

from turnwire.api.access.revoked import Revoked
from turnwire.shared.errors import StoreUnavailable
from turnwire.shared.store.revocations import Revocations

READ_S: Final = 30.0  # in case a message was lost; a lost subscription is followed by a read anyway
RETRY_S: Final = 1.0

logger = logging.getLogger(__name__)


class KnownRevocations:
    """Reads the list while `run` runs."""

    def __init__(self, revoked: Revoked, revocations: Revocations) -> None:
        self._revoked = revoked
        self._revocations = revocations
        self._told = asyncio.Event()

    def tell(self, _: bytes | None = None) -> None:
        """Read the list soon, because it may have changed, whatever the message says."""
        self._told.set()

    async def read(self) -> bool:
        """Read the list once. Returns False if Redis does not answer; what is known stays then."""
        try:
            self._revoked.learn(await self._revocations.current())
        except StoreUnavailable:
            return False
        return True

    async def run(self) -> None:
        """Read the list again and again."""
        while True:
            self._told.clear()
            pause_s = READ_S if await self.read() else RETRY_S
            try:
                async with asyncio.timeout(pause_s):
                    await self._told.wait()
            except TimeoutError:
                pass
