"""Ends cancelled turns whose worker is dead, even if no worker is left to take them over.

While a lease says that a worker runs the turn, a cancel is only a request to that worker. So this process asks again
when the time of a lease has passed. A living worker has stopped the turn by then. The lease of a dead worker has ended,
and the script that cancels the turn ends it. The turns that are watched so stand on a list in Redis. If this process
dies, another one goes on: a process that starts does so at once, and one that runs already within some seconds.
"""

import asyncio
import logging
from typing import Final

from turnwire.shared.errors import NotFound, StoreUnavailable
from turnwire.shared.keys import TurnKey
from turnwire.shared.replies import CancelVerdict
from turnwire.shared.store.cancelling import Cancelling
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.store.waking import cancel_and_wake

logger = logging.getLogger(__name__)

SLACK_S: Final = 0.1  # how long after the time of a lease to ask again
LOOKS: Final = 20  # a worker that renews its lease so many times lives, and its heartbeat reports the cancel
ADOPT_S: Final = 5.0  # how often a process looks for turns that a dead process has watched


class PendingCancels:
    """Cancels turns, and watches those that a worker should stop until they have ended."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        self._store = store
        self._queue = queue
        self._list = Cancelling(queue.redis, store.settings)
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._adopting: asyncio.Task[None] | None = None

    async def cancel(self, key: TurnKey, reason: str, *, user: str | None = None) -> CancelVerdict:
        """Cancel a turn. If a worker has to stop it, this process watches it from now on.

        Raises:
            NotFound: there is no such turn, or not of this user.
            StoreUnavailable: the turn may be cancelled.
        """
        await self._list.watch(key)  # first, because this process may die right after the cancel
        try:
            verdict = await cancel_and_wake(self._store, self._queue, key, reason, user=user)
        except NotFound:
            await self._list.forget(key)
            raise
        if verdict is CancelVerdict.REQUESTED:
            self._watch(key)
        else:
            await self._list.forget(key)
        return verdict

    def start(self) -> None:
        """Adopt, now and every five seconds, what other processes have left."""
        self._adopting = asyncio.create_task(self._adopt(), name="pending cancels")

    async def stop(self) -> None:
        """Watch no more. What is left stays on the list."""
        tasks = [*self._watches.values(), *([self._adopting] if self._adopting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _adopt(self) -> None:
        starts = True
        while True:
            try:
                for key in await self._list.adopt(starts=starts):
                    self._watch(key)
                starts = False
            except StoreUnavailable as error:
                logger.warning("the cancels of other processes could not be read: %s", error)
            except Exception:
                logger.exception("the cancels of other processes could not be adopted")
            await asyncio.sleep(ADOPT_S)

    def _watch(self, key: TurnKey) -> None:
        if key.run_id in self._watches:
            return
        task = asyncio.create_task(self._look(key), name=f"cancel {key.run_id}")
        self._watches[key.run_id] = task
        task.add_done_callback(lambda _: self._watches.pop(key.run_id, None))

    async def _look(self, key: TurnKey) -> None:
        for _ in range(LOOKS):
            await asyncio.sleep(self._store.settings.lease_ms / 1000 + SLACK_S)
            try:
                await self._list.watch(key)
                verdict = await cancel_and_wake(self._store, self._queue, key, "", repeated=True)
            except NotFound:
                break
            except StoreUnavailable as error:
                logger.warning("%s: the cancel could not be looked at again: %s", key.run_id, error)
                continue
            if verdict is not CancelVerdict.REQUESTED:
                break
        await until_answered(self._list.forget, key)
