"""How a worker takes jobs from the queue in memory, as take.lua and take_answers.lua do in Redis."""

import math

from turnwire.shared import keys
from turnwire.shared.lanes import read_pools, served_lanes
from turnwire.shared.settings import Settings
from turnwire.shared.store.queue import IN_LINE_MS, Room, Taken
from turnwire.testing.life import Life, write
from turnwire.testing.memory_lanes import Space, by_score
from turnwire.testing.queue_memory import QueueMemory


class Look:
    """One look at the queue, for a worker that takes any jobs of its lanes."""

    def __init__(self, memory: QueueMemory, worker: str, lease_ms: int, lanes: list[str]) -> None:
        self._memory, self._worker, self._lease_ms, self._lanes = memory, worker, lease_ms, lanes
        self.taken: list[Taken] = []
        self.next_ms: int | None = None  # in how many ms a job is due

    def _soon(self, left_ms: float) -> None:
        self.next_ms = int(left_ms) if self.next_ms is None else min(int(left_ms), self.next_ms)

    def _claimed(self, job_id: str) -> bool:
        memory = self._memory
        if memory.holder(job_id) is None:
            memory.claim(job_id, self._worker, self._lease_ms)
            self.taken.append(Taken(job_id, memory.job(job_id) or b""))
            return True
        left_ms = memory.claim_ends_ms(job_id) + 1 - memory.now_ms
        memory.scores[job_id] = memory.now_ms + left_ms
        self._soon(left_ms)
        return False

    def _waits(self, job_id: str) -> bool:
        return self._memory.scores.get(job_id, 0) < 0

    def take(self, count: int, room: Room, pools: int, aged_us: int) -> None:
        """Take up to `count` jobs. Batch jobs that have waited since `aged_us` count as interactive ones."""
        memory = self._memory
        due = [entry for entry in by_score(memory.scores) if entry[1] >= 0][: count + 1]
        for place, (job_id, due_ms) in enumerate(due):
            if due_ms > memory.now_ms or place >= count:
                self._soon(max(due_ms - memory.now_ms, 0))
                break
            if memory.lanes.lane_of(job_id) in self._lanes:
                self._claimed(job_id)
            else:
                memory.scores[job_id] = int(due_ms - IN_LINE_MS)
                memory.lanes.put_in_line(job_id, due_ms)
        space = Space(count - len(self.taken) - room.reserved, set(room.busy))
        is_left = False
        for lane in self._lanes:
            has_more, others_wait = memory.lanes.serve(
                lane, count - len(self.taken), space, lambda job_id: self._waits(job_id) and self._claimed(job_id)
            )
            is_left |= others_wait
            if has_more:
                self._soon(0)
        if is_left:
            for lane in self._lanes[:pools]:
                memory.lanes.grow_old(lane, aged_us)


class MemoryTakes:
    """The methods of TurnQueue that take jobs."""

    memory: QueueMemory
    settings: Settings
    life: Life

    @write
    async def take(
        self,
        worker: str,
        count: int,
        *,
        woken: bool = True,  # noqa: ARG002
        room: Room | None = None,
    ) -> tuple[list[Taken], int | None]:
        """See TurnQueue. There are no hints to clear."""
        memory = self.memory
        taken = self._suspects_for(worker, Room() if room is None else room)
        if taken or (room is not None and room.company):
            return taken, None
        pools = read_pools(self.settings.pools)
        look = Look(memory, worker, self.settings.lease_ms, served_lanes(pools))
        look.take(count, room or Room(), len(pools), (memory.now_ms - self.settings.batch_age_ms) * 1000)
        return look.taken, look.next_ms

    @write
    async def take_answers(
        self, worker: str, count: int, after: int, pending: str = keys.PENDING
    ) -> tuple[list[Taken], int]:
        """See TurnQueue. There are no callbacks here."""
        assert pending == keys.PENDING
        claimed, after = self.memory.claim_answers(worker, count, after, self.settings.lease_ms)
        return [Taken(job_id, self.memory.job(job_id) or b"") for job_id in claimed], after

    def _suspects_for(self, worker: str, room: Room) -> list[Taken]:
        """Decide what the worker takes. Returns the suspects that it takes, if it takes any."""
        memory, suspects, lease_ms = self.memory, self.memory.suspects, self.settings.lease_ms
        soonest_ms = min((memory.due_ms(job_id) or 0 for job_id in memory.scores), default=math.inf)
        room.company = suspects.isolation(
            worker, slots=room.slots, running=room.running, company=room.company, lease_ms=lease_ms,
            now_ms=memory.now_ms, workers=memory.workers, soonest_ms=soonest_ms,
        )  # fmt: skip
        taken: list[Taken] = []
        lanes = served_lanes(read_pools(self.settings.pools))
        for job_id in suspects.fitting(room.company) if room.company > 0 else []:
            if room.company <= room.running + len(taken):
                break
            if memory.lanes.lane_of(job_id) not in lanes:
                continue
            del suspects.waiting[job_id]
            if job_id in memory.scores and memory.holder(job_id) is None:
                memory.claim(job_id, worker, lease_ms)
                taken.append(Taken(job_id, memory.job(job_id) or b""))
        if room.company > 0 and room.running == 0 and not taken:
            room.company = 0
            suspects.isolating.pop(worker, None)
        return taken
