"""What the workers of the queue in memory tell each other, as shared/store/queue_workers.py does in Redis."""

from collections.abc import Sequence

from turnwire.shared.replies import Watched
from turnwire.shared.settings import Settings
from turnwire.shared.store.queue_workers import SWEEP_MS
from turnwire.testing.life import Life, write
from turnwire.testing.memory_lanes import by_score
from turnwire.testing.queue_memory import QueueMemory


class MemoryWorkers:
    """The list of workers, and their claims."""

    memory: QueueMemory
    settings: Settings
    life: Life

    @write
    async def extend(self, worker: str, entry: bytes, job_ids: Sequence[str]) -> bool:
        """See TurnQueue. Nobody asks a worker to drain here."""
        memory = self.memory
        memory.workers[worker] = entry
        for job_id in job_ids:
            if memory.holder(job_id) in (None, worker) and job_id in memory.scores:
                memory.claim(job_id, worker, self.settings.lease_ms)
                if job_id in memory.looks:
                    memory.looks[job_id] = memory.now_ms + SWEEP_MS
        return False

    async def workers(self) -> dict[str, bytes]:
        """See TurnQueue."""
        return dict(self.memory.workers)

    async def ring_size(self) -> int:
        """See TurnQueue."""
        return len(self.memory.workers)

    async def watch(self, worker: str, count: int = -1) -> Watched:
        """See TurnQueue. No process here holds a connection."""
        memory = self.memory
        others = sorted(set(memory.workers) - {worker})
        following = [other for other in others if other > worker] + [other for other in others if other < worker]
        sweeper, term_ends_ms = memory.sweeper
        sweeps = sweeper == worker and term_ends_ms > memory.now_ms
        watched = following if count < 0 else following[:count]
        return Watched(
            len(memory.scores), sweeps, len(watched), "", {other: memory.workers[other] for other in watched}
        )

    async def owned(self, worker: str) -> list[str]:
        """See TurnQueue."""
        return [job_id for job_id, _ in by_score(self.memory.scores) if self.memory.holder(job_id) == worker]

    @write
    async def bury(self, worker: str, entry: bytes, job_ids: Sequence[str]) -> bool:
        """See TurnQueue."""
        memory = self.memory
        if memory.workers.get(worker) != entry:
            return False
        for job_id in job_ids:
            if memory.holder(job_id) == worker:
                if job_id in memory.scores:
                    memory.scores[job_id] = memory.now_ms
                memory.drop_claim(job_id)
        del memory.workers[worker]
        if memory.sweeper[0] == worker:
            memory.sweeper = ("", 0)
        return True
