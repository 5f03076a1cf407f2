"""The list of turns whose cancel was asked for and has not taken effect yet, on the queue Redis.

An API process watches such a turn until it has ended. If that process dies, another one finds the turn here.
"""

from typing import Any, Final

from turnwire.shared import keys
from turnwire.shared.keys import TurnKey
from turnwire.shared.settings import Settings
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.scripts import Script

ADOPT_CANCELS = Script("adopt_cancels")
WATCH_CANCEL = Script("watch_cancel")

WATCH_MS: Final = 5_000  # a process counts as dead if it has not looked at a turn for the time of a lease and these ms
ADOPTED: Final = 100  # turns that one call hands out


class Cancelling:
    """Typed access to the list. Methods raise StoreUnavailable when Redis does not answer; all may be repeated."""

    def __init__(self, redis: Any, settings: Settings) -> None:
        self._courier = Courier(redis, settings.redis_timeout_s)
        self._watch_ms = settings.lease_ms + WATCH_MS

    async def watch(self, key: TurnKey) -> None:
        """Note that this process watches the turn for the time of a lease and five seconds."""
        await WATCH_CANCEL(self._courier, [keys.CANCELLING], [key.run_id, self._watch_ms])

    async def forget(self, key: TurnKey) -> None:
        """Note that nobody has to watch the turn any more."""
        await WATCH_CANCEL(self._courier, [keys.CANCELLING], [key.run_id, 0])

    async def adopt(self, *, starts: bool) -> list[TurnKey]:
        """Return turns that no process watches, and watch them. `starts`: return also those that others watch."""
        found = await ADOPT_CANCELS(self._courier, [keys.CANCELLING], [self._watch_ms, ADOPTED, int(starts)])
        return [TurnKey.parse(run_id.decode()) for run_id in found]
