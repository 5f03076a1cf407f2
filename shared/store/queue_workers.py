"""What the workers of a pool tell each other through the queue Redis: that they live, and which jobs they hold."""

from collections.abc import Sequence

from turnwire.shared import channels, keys
from turnwire.shared.replies import Watched
from turnwire.shared.store.queue_lineage import QueueLineage
from turnwire.shared.store.scripts import Arg, Script, answered_within, typed_refusals

BURY = Script("bury")
EXTEND = Script("extend")
OWNED = Script("owned")
WATCH = Script("watch")

SWEEP_MS = 15_000  # the sweep looks at an open turn that nobody has touched for this time


class QueueWorkers(QueueLineage):
    """The list of workers, and their claims. The methods are those of TurnQueue, which says what they raise."""

    async def extend(self, worker: str, entry: bytes, job_ids: Sequence[str]) -> bool:
        """Send the heartbeat: register the worker with `entry`, and extend its claims on these jobs.

        A job that another worker has claimed meanwhile is left alone. Returns whether an operator wants it to drain.
        """
        names = [
            keys.QUEUE, keys.OPEN_TURNS, keys.WORKERS, keys.RING, keys.claims(worker), keys.BEAT, keys.GRACE,
            keys.DRAIN_PREFIX + worker,
        ]  # fmt: skip
        args: list[Arg] = [worker, entry, self._settings.lease_ms, SWEEP_MS, keys.IN_PROGRESS_PREFIX, *job_ids]
        return bool(await EXTEND(self._courier, names, args))

    async def workers(self) -> dict[str, bytes]:
        """Return the entry of each worker's last heartbeat, by worker id."""
        async with answered_within(self.timeout_s):
            return {worker.decode(): entry for worker, entry in (await self.redis.hgetall(keys.WORKERS)).items()}

    async def ring_size(self) -> int:
        """Return how many workers stand in the ring."""
        with typed_refusals():
            return int(await self._courier.send("ZCARD", keys.RING))

    async def watch(self, worker: str, count: int = -1) -> Watched:
        """Look which of the `count` workers that follow this one in the ring are gone. With -1, look at all others."""
        names = [keys.WORKERS, keys.RING, keys.QUEUE, keys.SWEEPER]
        prefix = channels.alive_channel(self._settings.deployment_name, "")
        queued, sweeps, looked_at, server, *found = await WATCH(self._courier, names, [worker, count, prefix])
        missing = {name.decode(): entry for name, entry in zip(found[::2], found[1::2], strict=True)}
        return Watched(queued, bool(sweeps), looked_at, server.decode(), missing)

    async def owned(self, worker: str) -> list[str]:
        """Return the ids of the jobs that a worker has claimed."""
        reply = await OWNED(self._courier, [keys.claims(worker)], [worker, keys.IN_PROGRESS_PREFIX])
        return [job_id.decode() for job_id in reply]

    async def bury(self, worker: str, entry: bytes, job_ids: Sequence[str]) -> bool:
        """Take a dead worker off the list and make its jobs due. Returns False if it has registered since `entry`."""
        args: list[Arg] = [worker, entry, keys.IN_PROGRESS_PREFIX, keys.LANE_PREFIX, *job_ids]
        names = [keys.WORKERS, keys.RING, keys.QUEUE, keys.HINTS, keys.claims(worker), keys.SWEEPER]
        return bool(await BURY(self._courier, names, args))
