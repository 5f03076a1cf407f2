"""What operators tell the queue and the workers to do."""

from turnwire.shared import channels, keys
from turnwire.shared.errors import LeaseHeld, NotFound, TurnEnded
from turnwire.shared.keys import TurnKey
from turnwire.shared.settings import Settings
from turnwire.shared.store.courier import Courier
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.scripts import Script
from turnwire.shared.store.turn_rows import TurnRow, TurnRows
from turnwire.shared.store.turns import TurnStore

DRAIN = Script("drain")

WISH_MS = 3_600_000  # how long a worker can still learn that it should drain


class Control:
    """The deeds. Methods raise StoreUnavailable when Redis does not answer; all of them may be repeated."""

    def __init__(self, store: TurnStore, queue: TurnQueue) -> None:
        self._store = store
        self._queue = queue
        self._settings: Settings = store.settings
        self._courier = Courier(queue.redis, queue.timeout_s)

    async def drain(self, worker: str) -> None:
        """Ask a worker to take no more turns, to let its turns finish, and to exit.

        Raises:
            NotFound: there is no such worker.
        """
        channel = channels.alive_channel(self._settings.deployment_name, worker)
        names = [keys.WORKERS, keys.DRAIN_PREFIX + worker]
        if not await DRAIN(self._courier, names, [worker, WISH_MS, channel]):
            raise NotFound("no such worker")

    async def check_requeue(self, key: TurnKey) -> None:
        """Raises:
        NotFound: there is no such turn.
        TurnEnded: it has ended, so there is nothing to run.
        LeaseHeld: a worker runs it.
        """
        row = await self._row(key)
        if row.ended_at is not None and row.status in {"completed", "failed", "cancelled"}:
            raise TurnEnded("this turn has ended")
        if row.lease_ttl_ms is not None:
            raise LeaseHeld("a worker runs this turn")

    async def requeue(self, key: TurnKey) -> TurnRow:
        """Make sure that a worker looks at an open turn, and soon: a job that was put off is due at once.

        It changes nothing for a turn that waits in its line, nor for one that a worker has claimed meanwhile.
        """
        lane = await self._store.lane(key)
        if not await self._queue.enqueue(key.run_id, accepted=True, lane=lane):
            await self._queue.hasten(key.run_id)
        return await self._row(key)

    async def _row(self, key: TurnKey) -> TurnRow:
        _, [row] = await TurnRows(self._store, self._queue).read([key])
        if row is None:
            raise NotFound("no such turn")
        return row
