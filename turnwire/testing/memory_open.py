"""The list of open turns in memory, as shared/store/queue_open.py keeps it in Redis."""

from collections.abc import Sequence

from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.limits import Limits
from turnwire.shared.replies import Due
from turnwire.shared.settings import Settings
from turnwire.shared.store.queue_open import ANNOUNCED_MS, SWEEPER_MS, WAITING_MS, Admitted
from turnwire.shared.store.queue_workers import SWEEP_MS
from turnwire.testing.life import Life, write
from turnwire.testing.memory_lanes import by_score
from turnwire.testing.queue_memory import QueueMemory


class MemoryOpenTurns:
    """The list of open turns."""

    memory: QueueMemory
    settings: Settings
    life: Life

    @write
    async def admit(self, key: TurnKey, limits: Limits) -> Admitted:
        """See TurnQueue."""
        memory = self.memory
        is_new = key.run_id not in memory.looks
        left, key_left = memory.tenants.admit(
            key, limits, is_new=is_new, now_us=memory.now_ms * 1000, kept_ms=self.settings.retention_ms,
            open_job_ids=memory.looks.keys(),
        )  # fmt: skip
        mark_ms = memory.now_ms + ANNOUNCED_MS
        if is_new:
            memory.looks[key.run_id] = mark_ms
        return Admitted(str(mark_ms) if is_new else "", left, key_left)

    @write
    async def drop_session(self, key: SessionKey) -> None:
        """See TurnQueue."""
        self.memory.tenants.sessions.get(key.tenant, {}).pop(key.session, None)

    @write
    async def announce(self, run_id: str) -> str:
        """See TurnQueue."""
        if run_id in self.memory.looks:
            return ""
        self.memory.looks[run_id] = self.memory.now_ms + ANNOUNCED_MS
        return str(self.memory.now_ms + ANNOUNCED_MS)

    @write
    async def forget(self, job_id: str, mark: str) -> None:
        """See TurnQueue."""
        if mark and self.memory.looks.get(job_id, 0) == float(mark):
            self.memory.pending.pop(job_id, None)
            self.memory.tenants.end_turn(job_id)
            self.memory.looks.pop(job_id, None)

    @write
    async def due(self, worker: str, limit: int = 500) -> Due:
        """See TurnQueue."""
        memory = self.memory
        sweeper, term_ends_ms = memory.sweeper
        if sweeper != worker and term_ends_ms > memory.now_ms:
            return Due([], max(4000, 250 * len(memory.workers)), sweeps=False)
        memory.sweeper = worker, memory.now_ms + SWEEPER_MS
        mark_ms = memory.now_ms + SWEEP_MS + 0.5  # unlike that of an enqueue in the same ms: forget tells them apart
        marked: list[tuple[str, str]] = []
        due = [job_id for job_id, due_ms in by_score(memory.looks) if due_ms <= memory.now_ms]
        for job_id in due[:limit]:
            if job_id in memory.scores and memory.job(job_id) is not None:  # the job will be taken
                memory.looks[job_id] = memory.now_ms + WAITING_MS
            else:
                memory.looks[job_id] = mark_ms
                marked.append((job_id, str(mark_ms)))
        first_ms = min(memory.looks.values(), default=None)
        return Due(marked, None if first_ms is None else max(int(first_ms) - memory.now_ms, 0), sweeps=True)

    async def release(self, job_ids: Sequence[str]) -> int:  # noqa: ARG002
        """See TurnQueue. Nothing is held here."""
        return 0

    @write
    async def postpone(self, run_id: str, delay_ms: int) -> None:
        """See TurnQueue."""
        if run_id in self.memory.looks:
            self.memory.looks[run_id] = self.memory.now_ms + delay_ms
