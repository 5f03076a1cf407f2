"""Knows, in memory, which jobs are suspects and which worker runs them.

Each function does what its namesake in shared/store/lua/parts does (`suspicion.lua`, `isolation.lua`).
"""

from dataclasses import dataclass, field
from typing import Final

from turnwire.testing.memory import MemoryTurn

UNKNOWN_COMPANY: Final = 100
PATIENCE_MS: Final = 30_000
OF_A_TRY: Final = ("persist_company", "persist_crashes", "persist_crashes_alone", "persist_company_limit")


@dataclass
class Suspicion:
    """The knowledge about a job during which workers died; see `suspicion.lua`."""

    crashes: int
    alone: int
    limit: int | None

    @classmethod
    def read(cls, fields: dict[str, str], prefix: str = "") -> "Suspicion":
        """What the fields of the turn say."""
        limit = fields.get(f"{prefix}company_limit")
        crashes, alone = (int(fields.get(f"{prefix}{name}", "0")) for name in ("crashes", "crashes_alone"))
        return cls(crashes, alone, None if limit is None else int(limit))

    def add_crash(self, company: int) -> None:
        """Count the death of a worker that ran so many jobs; 0: nobody knows how many."""
        self.crashes += 1
        self.alone += company == 1
        if self.crashes > 1:
            quarter = max((company or UNKNOWN_COMPANY) // 4, 1)
            self.limit = min(self.limit or quarter, quarter)

    def may_run(self, company: int) -> bool:
        """Return whether the job may run in a worker that runs at most `company` jobs, all suspects; 0: any jobs."""
        return self.limit is None or 0 < company <= self.limit

    def fields(self, prefix: str = "") -> dict[str, str]:
        """The fields of the turn that say so."""
        fields = {f"{prefix}crashes": str(self.crashes), f"{prefix}crashes_alone": str(self.alone)}
        return fields if self.limit is None else fields | {f"{prefix}company_limit": str(self.limit)}


def note_company(turn: MemoryTurn, name: str, company: int, elsewhere: int) -> None:
    """Note how many jobs a dead worker had; 0: it has stopped in order. It had kept a promise of fewer."""
    promise = turn.fields.get(name)
    if name == "persist_company" and promise is None:
        return
    if name == "persist_company" and not company:
        del turn.fields[name]
        return
    promised = int(promise) if promise is not None and promise.isdigit() else 0
    had = (min(promised, company) if promised else company) + elsewhere
    turn.fields[name] = str(had) if company else "stopped"


@dataclass
class Suspects:
    """The suspects that wait, and the workers that run some."""

    waiting: dict[str, int] = field(default_factory=dict)  # job id -> how many jobs may run in its worker
    isolating: dict[str, float] = field(default_factory=dict)  # worker -> until when that counts, ms
    clearing: tuple[str, float] | None = None  # the worker that takes nothing until it is idle, and until when

    def isolation(
        self,
        worker: str,
        *,
        slots: int,
        running: int,
        company: int,
        lease_ms: int,
        now_ms: int,
        workers: dict[str, bytes],
        soonest_ms: float,
    ) -> int:
        """Decide what a worker takes: 0: any jobs; n: suspects, n at a time; -1: nothing.

        `soonest_ms`: when the first job of the queue is due.
        """
        until_ms = now_ms + 2 * lease_ms
        first = max(self.waiting.values(), default=None)
        if first is None and company <= 0:
            return 0
        live = {other for other, end_ms in self.isolating.items() if end_ms >= now_ms and other in workers}
        others = len(live - {worker})
        if others + 1 >= len(workers) and soonest_ms <= now_ms - PATIENCE_MS:
            self.isolating.pop(worker, None)
            return 0
        if company > 0 and running > 0:
            self.isolating[worker] = until_ms
            return company
        if first is None:
            return 0
        if running > 0:
            return self._cleared(worker, others, now_ms, until_ms)
        if others > 0 and (soonest_ms <= now_ms or others + 1 >= len(workers)):
            return 0
        self.isolating[worker] = until_ms
        self.clearing = None
        return min(slots, first)

    def _cleared(self, worker: str, others: int, now_ms: int, until_ms: int) -> int:
        held = self.clearing is not None and self.clearing[1] > now_ms and self.clearing[0] != worker
        if others > 0 or held:
            return 0
        self.clearing = worker, until_ms
        return -1

    def fitting(self, company: int) -> list[str]:
        """List the suspects that may run in this company; first the one that may run beside the most others."""
        fitting = sorted(((limit, job_id) for job_id, limit in self.waiting.items() if limit >= company), reverse=True)
        return [job_id for _, job_id in fitting]
