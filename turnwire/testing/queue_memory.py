"""What the queue in memory keeps: the content of the queue's keys in Redis."""

from turnwire.shared.store.queue import JOB_TTL_MS
from turnwire.testing.clock import ManualClock
from turnwire.testing.memory_suspects import Suspects


class QueueMemory:
    """What the queue keeps: the content of its keys in Redis. Several queues may share one memory."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.scores: dict[str, float] = {}  # job id -> when it may start, ms
        self.looks: dict[str, float] = {}  # job id -> when the sweep looks at it, ms
        self.pending: dict[str, int] = {}  # job id of an answer to persist -> since when, µs
        self.workers: dict[str, bytes] = {}
        self.ledger: list[bytes] = []  # the published rows, oldest first
        self.billed: dict[str, tuple[int, int]] = {}  # run id -> creation and attempt of its last published row
        self.usage: dict[str, dict[str, str]] = {}  # tenant -> sums of its published rows
        self.suspects = Suspects()
        self._jobs: dict[str, tuple[bytes, int]] = {}
        self._claims: dict[str, tuple[str, int]] = {}
        self._nonce = 0

    @property
    def now_ms(self) -> int:
        """The time, by the clock."""
        return self.clock.now_ms

    def job(self, job_id: str) -> bytes | None:
        """The bytes of a job, unless it has expired."""
        found = self._jobs.get(job_id)
        return found[0] if found is not None and found[1] > self.now_ms else None

    def put_job(self, job_id: str, function: str) -> None:
        """Store a job; its bytes are unlike those of every job before."""
        self._nonce += 1
        self._jobs[job_id] = f"{function} {job_id} {self._nonce}".encode(), self.now_ms + JOB_TTL_MS

    def drop_job(self, job_id: str) -> None:
        """Delete a job, or let it expire."""
        self._jobs.pop(job_id, None)

    def holder(self, job_id: str) -> str | None:
        """The worker that has claimed a job, if its claim has not lapsed."""
        found = self._claims.get(job_id)
        return found[0] if found is not None and found[1] > self.now_ms else None

    def claim_ends_ms(self, job_id: str) -> int:
        """When the claim on a job ends."""
        return self._claims[job_id][1]

    def claim(self, job_id: str, worker: str, lease_ms: int) -> None:
        """Claim a job for a time: it is out of sight until then."""
        self._claims[job_id] = worker, self.now_ms + lease_ms
        self.scores[job_id] = self.now_ms + lease_ms

    def drop_claim(self, job_id: str) -> None:
        """Give up the claim on a job."""
        self._claims.pop(job_id, None)
