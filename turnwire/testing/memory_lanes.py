"""The lines of waiting jobs in memory. Each method does what its namesake in shared/store/lua/parts does.

`lanes.lua` says how tenants take turns.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from turnwire.shared import keys
from turnwire.shared.lanes import DEFAULT_LANE, Lane

STALE_LIMIT: Final = 250
AGED_TOGETHER: Final = 100


def by_score(scores: dict[str, float] | dict[str, int]) -> list[tuple[str, float]]:
    """Return the entries of a sorted set in the order of Redis: by score, and those of one score by name."""
    return sorted(scores.items(), key=lambda entry: (entry[1], entry[0]))


@dataclass
class Space:
    """The slots of a worker: `open` are for any tenant, the others for tenants that are not `busy` there."""

    open: int
    busy: set[str]

    def take(self, tenant: str, claimed: int) -> None:
        """Note that jobs of a tenant were claimed."""
        self.open -= claimed
        if claimed:
            self.busy.add(tenant)


@dataclass
class LaneMemory:
    """One lane: the tenants with waiting jobs, the virtual starts of others, and the lines."""

    tenants: dict[str, float] = field(default_factory=dict)
    debts: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[str, int]] = field(default_factory=dict)  # tenant -> job id -> since when, µs

    def stand_in_line(self, tenant: str, job_id: str, since_us: int, *, is_new: bool) -> None:
        """Put a job into the line of its tenant."""
        line = self.lines.setdefault(tenant, {})
        if tenant in self.tenants:
            if line and is_new:
                since_us = max(since_us, max(line.values()) + 1)
        else:
            start = 0.0
            if self.tenants:
                virtual_time = self.debts.get("", min(self.tenants.values()))
                start = max(virtual_time, self.debts.get(tenant, 0.0))
            self.tenants[tenant] = start
        line[job_id] = since_us

    def serve(
        self, count: int, space: Space, claim: Callable[[str], bool], weight_of: Callable[[str], float]
    ) -> tuple[bool, bool]:
        """Take up to `count` jobs. Returns whether there are more that the worker could take, and any more."""
        served, stale, virtual_time, could_take = 0, 0, None, True
        while served < count and stale < STALE_LIMIT:
            first = by_score(self.tenants)[:2]
            found: tuple[str, float] | None = first[0] if first else None
            if found is not None and space.open < 1:
                found = next((entry for entry in by_score(self.tenants) if entry[0] not in space.busy), None)
                could_take = found is not None
            if found is None:
                break
            (tenant, start), is_alone = found, len(first) == 1
            wanted = min(count - served, max(space.open, 1)) if is_alone else 1
            claimed, popped = self._claimed(tenant, wanted, claim)
            served, stale = served + claimed, stale + popped - claimed
            space.take(tenant, claimed)
            if is_alone and tenant not in self.lines:
                self.tenants.clear()
                self.debts.clear()
                return False, False
            if is_alone and claimed:
                self.debts.clear()
                virtual_time = None
            elif not is_alone:
                virtual_time = first[0][1]
                begins = start if tenant in self.lines else virtual_time
                self._end_turn(tenant, begins + claimed / weight_of(tenant))
        if virtual_time is not None:
            self.debts = {name: start for name, start in self.debts.items() if start > virtual_time}
            self.debts[""] = virtual_time
        return bool(self.tenants) and could_take, bool(self.tenants)

    def _end_turn(self, tenant: str, next_start: float) -> None:
        """Move a tenant that was served behind the others; one without jobs leaves the lane."""
        if tenant in self.lines:
            self.tenants[tenant] = next_start
        else:
            del self.tenants[tenant]
            self.debts[tenant] = next_start

    def _claimed(self, tenant: str, wanted: int, claim: Callable[[str], bool]) -> tuple[int, int]:
        """Take the first jobs of a line. Returns how many were claimed, and how many left the line."""
        line = self.lines.get(tenant, {})
        popped = [job_id for job_id, _ in by_score(line)[:wanted]]
        for job_id in popped:
            del line[job_id]
        if not line:
            self.lines.pop(tenant, None)
        return sum(claim(job_id) for job_id in popped), len(popped)


@dataclass
class Lanes:
    """All lanes of the queue."""

    lanes: dict[str, LaneMemory] = field(default_factory=dict)
    of_job: dict[str, str] = field(default_factory=dict)  # job id -> its lane, unless it is the default one
    ageing: dict[str, dict[str, int]] = field(default_factory=dict)  # pool -> its waiting batch jobs -> since when, µs
    weights: dict[str, float] = field(default_factory=dict)

    def lane(self, name: str) -> LaneMemory:
        """Return the lane with this name."""
        return self.lanes.setdefault(name, LaneMemory())

    def lane_of(self, job_id: str) -> str:
        """Return the name of a job's lane."""
        return self.of_job.get(job_id, DEFAULT_LANE.name)

    def enqueue(self, job_id: str, lane: Lane, weight: float | None, since_us: int) -> None:
        """Put a new job into its line."""
        tenant = keys.tenant_of(job_id)
        self.lane(lane.name).stand_in_line(tenant, job_id, since_us, is_new=True)
        if lane != DEFAULT_LANE:
            self.of_job[job_id] = lane.name
        if lane.priority == "batch":
            self.ageing.setdefault(lane.pool, {})[job_id] = since_us
        if weight is not None:
            self.weights[tenant] = weight

    def put_in_line(self, job_id: str, due_ms: float) -> None:
        """Put a due job that stood in no line into its own one."""
        self.lane(self.lane_of(job_id)).stand_in_line(keys.tenant_of(job_id), job_id, int(due_ms) * 1000, is_new=False)

    def serve(self, name: str, count: int, space: Space, claim: Callable[[str], bool]) -> tuple[bool, bool]:
        """Take up to `count` jobs of a lane. Returns whether there are more that it could take, and any more."""
        ageing = self.ageing.get(name.removesuffix(":batch"), {}) if name.endswith(":batch") else {}

        def claim_aged(job_id: str) -> bool:
            ageing.pop(job_id, None)
            return claim(job_id)

        return self.lane(name).serve(count, space, claim_aged, lambda tenant: self.weights.get(tenant, 1.0))

    def grow_old(self, pool: str, since_us: int) -> None:
        """Put batch jobs that have waited since this time or longer among the interactive ones."""
        ageing, batch = self.ageing.get(pool, {}), self.lane(Lane(pool, "batch").name)
        for job_id in [name for name, since in by_score(ageing) if since <= since_us][:AGED_TOGETHER]:
            tenant = keys.tenant_of(job_id)
            since = batch.lines.get(tenant, {}).pop(job_id, None)
            del ageing[job_id]
            if since is not None:
                if job_id in self.of_job:
                    self.of_job[job_id] = pool
                self.lane(pool).stand_in_line(tenant, job_id, since, is_new=False)
                if not batch.lines[tenant]:
                    del batch.lines[tenant]
