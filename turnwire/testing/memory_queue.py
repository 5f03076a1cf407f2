"""The queue in memory: the same methods, results and refusals as TurnQueue, without Redis and without arq.

Nobody waits here: a worker asks for what is due, and learns when the next job falls due.
"""

from collections.abc import Iterable, Sequence
from types import MappingProxyType

from turnwire.shared import keys
from turnwire.shared.errors import QueueFull
from turnwire.shared.lanes import DEFAULT_LANE, Lane
from turnwire.shared.ledger import UsageSums, decode_row
from turnwire.shared.settings import Settings
from turnwire.shared.store.attempts import ASIDE_MS
from turnwire.shared.store.queue import (
    MAX_ROWS,
    PERSIST_TURN,
    RUN_TURN,
    TELL_CALLBACK,
    TELL_ERASURE,
    Rows,
    Taken,
    TurnQueue,
)
from turnwire.shared.store.queue_view import Pending, QueueView
from turnwire.shared.store.queue_workers import SWEEP_MS
from turnwire.testing import memory_rules as rules
from turnwire.testing.life import Life, Unharmed, write
from turnwire.testing.memory_lanes import by_score
from turnwire.testing.memory_losses import WholeQueue
from turnwire.testing.memory_open import MemoryOpenTurns
from turnwire.testing.memory_takes import MemoryTakes
from turnwire.testing.memory_workers import MemoryWorkers
from turnwire.testing.queue_memory import QueueMemory


class MemoryQueue(WholeQueue, MemoryTakes, MemoryOpenTurns, MemoryWorkers, TurnQueue):
    """The queue. It has no connection: `super().__init__` is not called on purpose."""

    def __init__(self, memory: QueueMemory, settings: Settings, life: Life | None = None) -> None:
        self.memory, self.settings = memory, settings
        self.life: Life = life if life is not None else Unharmed()

    @write
    async def enqueue(
        self, run_id: str, *, accepted: bool = False, lane: Lane = DEFAULT_LANE, weight: float | None = None
    ) -> bool:
        """See TurnQueue."""
        return self._enqueued(RUN_TURN, run_id, lane, weight, accepted=accepted)

    @write
    async def enqueue_persist(self, run_id: str, *, lane: Lane = DEFAULT_LANE) -> bool:
        """See TurnQueue."""
        job_id, memory = keys.persist_id(run_id), self.memory
        if job_id not in memory.pending:
            last_us = max(memory.pending.values(), default=0)
            memory.pending[job_id] = max(memory.now_ms * 1000, last_us + 1)
        return self._enqueued(PERSIST_TURN, job_id, lane, None, accepted=True)

    @write
    async def enqueue_erasure(self, job_id: str, pool: str) -> bool:
        """See TurnQueue."""
        return self._enqueued(TELL_ERASURE, job_id, Lane(pool), None, accepted=True)

    @write
    async def enqueue_callback(self, run_id: str, *, lane: Lane = DEFAULT_LANE) -> bool:
        """See TurnQueue."""
        return self._enqueued(TELL_CALLBACK, keys.CALLBACK_PREFIX + run_id, lane, None, accepted=True)

    def _enqueued(self, function: str, job_id: str, lane: Lane, weight: float | None, *, accepted: bool) -> bool:
        memory = self.memory
        waits = memory.job(job_id) is not None and job_id in memory.scores
        runs = memory.holder(job_id) is not None
        if not waits and not accepted and self._is_full():
            raise QueueFull("too many turns are waiting")
        memory.looks[job_id] = memory.now_ms + SWEEP_MS
        if waits and not runs:
            return False
        memory.put_job(job_id, function)
        if not runs:
            memory.put_in_line(job_id, lane, weight)
        return True

    def _is_full(self) -> bool:
        jobs = self.memory.scores
        if len(jobs) < self.settings.max_queued:
            return False
        return sum(not job_id.startswith(keys.CALLBACK_PREFIX) for job_id in jobs) >= self.settings.max_queued

    @write
    async def set_aside(self, worker: str, taken: Taken, limit: int) -> None:
        """See TurnQueue."""
        memory, job_id = self.memory, taken.job_id
        if memory.holder(job_id) in (None, worker) and job_id in memory.scores:
            memory.suspects.waiting[job_id] = limit
            memory.scores[job_id] = memory.now_ms + ASIDE_MS
            memory.drop_claim(job_id)

    async def pending(self, after_us: int, limit: int, pending: str = keys.PENDING) -> tuple[int, list[Pending]]:
        """See TurnQueue. There are no callbacks here."""
        assert pending == keys.PENDING
        memory = self.memory
        later = [(job_id, int(since)) for job_id, since in by_score(memory.pending) if since > after_us]
        found = [
            Pending(keys.run_id_of(job_id), since_us, _whole(memory.due_ms(job_id)))
            for job_id, since_us in later[:limit]
        ]
        return len(memory.pending), found

    @write
    async def hasten(self, job_id: str) -> bool:
        """See TurnQueue."""
        memory = self.memory
        score = memory.scores.get(job_id)
        if score is None or memory.holder(job_id) is not None or score < 0:
            return False
        memory.scores[job_id] = memory.now_ms
        return True

    async def hold(self, worker: str, taken: Taken, field: str, since_us: int) -> None:  # noqa: ARG002
        """See TurnQueue. Nothing is paused here, so the job is due."""
        await self.again(worker, taken)

    async def note_unserved(self, run_id: str, project: str, waited_ms: int) -> None:
        """See TurnQueue. Nobody looks at it here."""

    async def view(self, pools: Iterable[str] = ()) -> QueueView:  # noqa: ARG002 - it shows no lines
        """See TurnQueue. Every worker here has hooks for every turn, nothing is paused, and no lines are shown."""
        memory = self.memory
        jobs, open_turns = len(memory.scores), len(memory.looks)
        return QueueView(memory.now_ms, jobs, open_turns, len(memory.suspects.waiting), [], [], [])

    async def usage(self, tenant: str) -> UsageSums:
        """See TurnQueue."""
        sums = self.memory.usage.get(tenant, {})
        return UsageSums.from_hash({name.encode(): value.encode() for name, value in sums.items()})

    @write
    async def end(self, worker: str, taken: Taken, rows: Rows = MappingProxyType({})) -> None:
        """See TurnQueue."""
        self._finished(worker, taken, "ended", None, rows)

    @write
    async def park(
        self, worker: str, taken: Taken, look_ms: int | None = None, rows: Rows = MappingProxyType({})
    ) -> None:
        """See TurnQueue."""
        self._finished(worker, taken, "parked", look_ms, rows)

    @write
    async def again(self, worker: str, taken: Taken, delay_ms: int = 0, rows: Rows = MappingProxyType({})) -> None:
        """See TurnQueue."""
        self._finished(worker, taken, "again", delay_ms, rows)

    def _finished(self, worker: str, taken: Taken, outcome: str, delay_ms: int | None, rows: Rows) -> None:
        memory, job_id = self.memory, taken.job_id
        if memory.holder(job_id) not in (None, worker):
            return
        current = memory.job(job_id)
        if current is not None and current != taken.job:
            outcome, delay_ms = "again", 0  # it was asked for meanwhile
        self._publish(job_id, [rows[attempt] for attempt in sorted(rows)[-MAX_ROWS:]])
        memory.drop_claim(job_id)
        if outcome == "again":
            memory.scores[job_id] = memory.now_ms + (delay_ms or 0)
            return
        memory.drop_job(job_id)
        memory.scores.pop(job_id, None)
        memory.lanes.of_job.pop(job_id, None)
        if outcome == "ended":
            memory.looks.pop(job_id, None)
            memory.tenants.end_turn(job_id)
            memory.pending.pop(job_id, None)
        elif delay_ms is not None and job_id in memory.looks:
            memory.looks[job_id] = memory.now_ms + delay_ms

    def _publish(self, run_id: str, rows: Sequence[bytes]) -> None:
        """Put the rows that are not on the stream yet there, each once."""
        memory = self.memory
        for row in rows:
            decoded = decode_row(row)
            if (decoded.turn_created_at, decoded.attempt) > memory.billed.get(run_id, (0, 0)):
                memory.ledger.append(row)
                rules.add_to_sums(memory.usage.setdefault(decoded.tenant_id, {}), "", row)
                memory.billed[run_id] = decoded.turn_created_at, decoded.attempt


def _whole(score: float | None) -> int | None:
    return None if score is None else int(score)
