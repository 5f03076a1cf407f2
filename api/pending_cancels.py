"""Ends cancelled turns whose worker is dead, even if no worker is left to take them over.

While a lease says that a worker runs the turn, a cancel is only a request to that worker. So this process asks again
when the time of a lease has passed. A living worker has stopped the turn by then. The lease of a dead worker has ended,
and the script that cancels the turn ends it. If this process ends before that, the next worker that takes the turn ends
the turn.
"""

import asyncio
import logging
from typing import Final

from turnwire.shared.errors import NotFound, StoreUnavailable
from turnwire.shared.keys import TurnKey
from turnwire.shared.replies import CancelVerdict
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.store.waking import cancel_and_wake

logger = logging.getLogger(__name__)

SLACK_S: Final = 0.1  # how long after the time of a lease to ask again
LOOKS: Final = 20  # a worker that renews its lease so many times lives, and its heartbeat reports the cancel


class PendingCancels:
    """Looks again at turns whose cancel was requested, at each of them in a task of its own."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        self._store = store
        self._queue = queue
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def look_again(self, key: TurnKey, reason: str) -> None:
        """Make sure that the turn ends, although its worker may be dead. `reason`: why it is cancelled."""
        if key.run_id in self._tasks:
            return
        task = asyncio.create_task(self._look(key, reason), name=f"cancel {key.run_id}")
        self._tasks[key.run_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(key.run_id, None))

    async def stop(self) -> None:
        """Stop looking, because the process ends."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, key: TurnKey, reason: str) -> None:
        for _ in range(LOOKS):
            await asyncio.sleep(self._store.settings.lease_ms / 1000 + SLACK_S)
            try:
                verdict = await cancel_and_wake(self._store, self._queue, key, reason, repeated=True)
            except NotFound:
                return
            except StoreUnavailable as error:
                logger.warning("%s: the cancel could not be looked at again: %s", key.run_id, error)
                continue
            if verdict is not CancelVerdict.REQUESTED:
                return
