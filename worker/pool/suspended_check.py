"""Looks through the index of suspended turns, and takes off what an older version or somebody's hand has left there."""

import time
from typing import Final

from turnwire.shared.store.suspended import SuspendedTurns

EVERY_S: Final = 60.0
TOGETHER: Final = 500  # so the cost does not grow with the number of suspended turns


class SuspendedCheck:
    """The check of the worker that sweeps."""

    def __init__(self, suspended: SuspendedTurns) -> None:
        self._suspended = suspended
        self._next_at_s = 0.0
        self._place = 0

    async def go_on(self) -> None:
        """Look at the next entries, at most once a minute.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        if time.monotonic() >= self._next_at_s:
            self._place = await self._suspended.unlist_others(self._place, TOGETHER) or 0
            self._next_at_s = time.monotonic() + EVERY_S
