"""The data of the queue in memory: the content of the queue's keys in Redis."""

from turnwire.shared.lanes import Lane
from turnwire.shared.store.planned_job import JOB_TTL_MS
from turnwire.shared.store.queue import IN_LINE_MS, LOOK
from turnwire.testing.clock import ManualClock
from turnwire.testing.memory_lanes import Lanes
from turnwire.testing.memory_suspects import Suspects
from turnwire.testing.memory_tenants import Tenants


class QueueMemory:
    """The data of the queue: the content of its keys in Redis. Several queues may share one memory."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.scores: dict[str, float] = {}  # job id -> when it may start, ms; negative: it waits in a line
        self.looks: dict[str, float] = {}  # job id -> when the sweep looks at it, ms
        self.pending: dict[str, int] = {}  # job id of an answer to persist -> since when, µs
        self.workers: dict[str, bytes] = {}
        self.ledger: list[bytes] = []  # the published rows, oldest first
        self.billed: dict[str, tuple[int, int]] = {}  # run id -> creation and attempt of its last published row
        self.usage: dict[str, dict[str, str]] = {}  # tenant -> sums of its published rows
        self.sweeper = ("", 0)  # the worker that sweeps, and when its term ends
        self.suspects = Suspects()
        self.lanes = Lanes()
        self.tenants = Tenants()
        self._jobs: dict[str, tuple[bytes, int]] = {}
        self._claims: dict[str, tuple[str, int]] = {}
        self._nonce = 0

    @property
    def now_ms(self) -> int:
        """The time of the clock, in ms."""
        return self.clock.now_ms

    def job(self, job_id: str) -> bytes | None:
        """Return the bytes of a job; None if it has expired."""
        found = self._jobs.get(job_id)
        return found[0] if found is not None and found[1] > self.now_ms else None

    def put_job(self, job_id: str, function: str) -> None:
        """Store a job. Its bytes differ from those of every earlier job."""
        self._nonce += 1
        self._jobs[job_id] = f"{function} {job_id} {self._nonce}".encode(), self.now_ms + JOB_TTL_MS

    def drop_job(self, job_id: str) -> None:
        """Delete a job, or let it expire."""
        self._jobs.pop(job_id, None)

    def put_in_line(self, job_id: str, lane: Lane, weight: float | None) -> None:
        """Let a new job wait in the line of its tenant."""
        self.scores[job_id] = self.now_ms - IN_LINE_MS
        self.lanes.enqueue(job_id, lane, weight, self.now_ms * 1000)

    def due_ms(self, job_id: str) -> float | None:
        """Return when a job is due, or since when it waits, in ms; None if it is not in the queue."""
        score = self.scores.get(job_id)
        return score if score is None or score >= 0 else score + IN_LINE_MS

    def holder(self, job_id: str) -> str | None:
        """Return the worker that has claimed a job; None if nobody has, or the claim has lapsed."""
        found = self._claims.get(job_id)
        return found[0] if found is not None and found[1] > self.now_ms else None

    def claim_ends_ms(self, job_id: str) -> int:
        """Return the time at which the claim on a job ends, in ms."""
        return self._claims[job_id][1]

    def claim(self, job_id: str, worker: str, lease_ms: int) -> None:
        """Claim a job for a time. No other worker sees it until then."""
        self._claims[job_id] = worker, self.now_ms + lease_ms
        self.scores[job_id] = self.now_ms + lease_ms

    def drop_claim(self, job_id: str) -> None:
        """Give up the claim on a job."""
        self._claims.pop(job_id, None)

    def claim_answers(self, worker: str, count: int, after: int, lease_ms: int) -> tuple[list[str], int]:
        """Claim due answers, as the script `take_answers` does. Returns their job ids, and the next `after`."""
        claimed: list[str] = []
        later = sorted((since_us, job_id) for job_id, since_us in self.pending.items() if since_us > after)[:LOOK]
        for since_us, job_id in later:
            if len(claimed) == count:
                return claimed, after
            after = since_us
            if self.scores.get(job_id, self.now_ms + 1) <= self.now_ms and self.holder(job_id) is None:
                self.claim(job_id, worker, lease_ms)
                claimed.append(job_id)
        return claimed, after if len(later) == LOOK else 0


def by_score(scores: dict[str, float] | dict[str, int]) -> list[tuple[str, float]]:
    """Return the entries of a sorted set, in its order."""
    return sorted(scores.items(), key=lambda entry: (entry[1], entry[0]))


def whole(score: float | None) -> int | None:
    """Return a score without its fraction."""
    return None if score is None else int(score)
