"""The queue in Redis and in memory: jobs are asked for, claimed, given back, ended, lost and swept, in any order.

A worker is as bad as it can be: it ends jobs whose claim it lost, late and twice. Whatever it does, a job that was
asked for and has not ended is waiting, claimed by one worker, or will be found by the sweep.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.model.actions import Actions
from tests.model.comparison import REDIS, World, ask_each
from tests.model.observed_queue import (
    Seen,
    in_memory,
    in_redis,
    lane_in_memory,
    lane_in_redis,
    row,
    watched,
    when,
)
from tests.model.queue_jobs import ACME, ANSWER, JOBS, LANES, LIMITED, NAMES, OTHER, TURN, WEIGHTS
from turnwire.shared import keys
from turnwire.shared.errors import TurnwireError
from turnwire.shared.keys import DEFAULT_TENANT, TurnKey
from turnwire.shared.lanes import DEFAULT_LANE
from turnwire.shared.store.queue import Room, Taken, TurnQueue
from turnwire.shared.store.queue_view import Pending
from turnwire.testing.clock import ManualClock
from turnwire.testing.memory_queue import MemoryQueue
from turnwire.testing.queue_memory import QueueMemory

WORKERS = st.sampled_from(["host/1/a", "host/2/b"])
AGAIN = st.booleans()
RUNNING = st.sampled_from([0, 0, 0, 1, 2])
COMPANY = st.sampled_from([0, 0, 0, -1, 1, 3])
LIMITS = st.sampled_from([1, 1, 3, 25])
ROWS = st.integers(0, 3)  # so many attempts have ended
LATER_MS = 60_000
Ask: TypeAlias = Callable[[TurnQueue, int], Coroutine[Any, Any, Any]]
action = Actions()


class QueueMachine(RuleBasedStateMachine):
    """Turns of two tenants in four lanes, an answer to persist, two workers."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.memory = QueueMemory(ManualClock())
        self.queues = self.of_pools("gpu,default")
        self.elsewhere = self.of_pools("cpu")
        self.moved = False  # a job was put into its line in another order than the clocks of the two queues tell
        self.taken: list[tuple[str, tuple[Taken, Taken]]] = []
        world.redis.flushall()

    def of_pools(self, pools: str) -> tuple[TurnQueue, TurnQueue]:
        settings = msgspec.structs.replace(self.world.settings, pools=pools)
        return TurnQueue(self.world.store.redis, settings), MemoryQueue(self.memory, settings)

    def both(self, ask: Ask, queues: tuple[TurnQueue, TurnQueue] | None = None) -> Any:
        """Ask both queues; they must agree. Returns the reply."""
        redis, memory = self.world.loop.run_until_complete(ask_each(queues or self.queues, ask))
        if isinstance(redis, TurnwireError):
            assert type(memory) is type(redis)
        else:
            assert memory == redis
        return redis

    def seen(self, name: str) -> tuple[Seen, Seen]:
        return in_redis(self.world.redis, [name])[0], in_memory(self.memory, name)

    @rule(action=action.any())
    def then(self, action):
        action.happens(self)

    @action(worker=WORKERS)
    def heartbeat(self, worker):
        mine = sorted({taken.job_id for owner, (taken, _) in self.taken if owner == worker})
        self.both(lambda queue, _: queue.extend(worker, b"{}", mine))
        self.both(lambda queue, _: queue.workers())
        self.both(lambda queue, _: queue.ring_size())
        self.both(lambda queue, _: watched(queue, worker))

    @action(4, name=JOBS, again=AGAIN, accepted=st.booleans(), share=WEIGHTS)
    def enqueue(self, name, again, accepted, share):
        for _ in range(1 + again):
            self._enqueue(name, accepted=accepted, weight=share)

    def _enqueue(self, name: str, *, accepted: bool = True, weight: float | None = None) -> None:
        before = self.seen(name)
        waits = before[REDIS].job is not None and before[REDIS].queued and before[REDIS].holder is None
        if name == ANSWER:
            reply = self.both(lambda queue, _: queue.enqueue_persist(TURN))
        else:
            lane = LANES.get(name, DEFAULT_LANE)
            reply = self.both(lambda queue, _: queue.enqueue(name, accepted=accepted, lane=lane, weight=weight))
        if isinstance(reply, bool):
            assert reply is not waits
        for was, now in zip(before, self.seen(name), strict=True):
            assert (now.job == was.job) is (waits or reply is not True), "a job that runs gets other bytes"

    @action(4, worker=WORKERS, running=RUNNING, company=COMPANY, slots=st.sampled_from([1, 4]), count=st.integers(1, 4))
    def take(self, worker, running, company, slots, count):
        self._take(worker, Room(slots, running, company), count)

    @action(worker=WORKERS)
    def take_elsewhere(self, worker):
        """A worker of another pool puts due jobs into their lines."""
        self.moved = self.moved or self._is_timed()
        self._take(worker, Room(4), 10, self.elsewhere)

    def _is_timed(self) -> bool:
        return any(0 <= score <= self.memory.now_ms for score in self.memory.scores.values())

    def _take(self, worker: str, state: Room, count: int, queues: tuple[TurnQueue, TurnQueue] | None = None) -> None:
        found: list[list[Taken]] = []
        if in_order := not (self.moved or self._is_timed() or self.memory.suspects.waiting):
            state.company = 0
        else:
            count, state.reserved = 10, 0

        async def taken(queue: TurnQueue, place: int) -> tuple[list[str], str, int]:
            room = Room(state.slots, state.running, state.company, min(state.reserved, count), state.busy)
            jobs, wait_ms = await queue.take(worker, count, room=room)
            found.append(sorted(jobs, key=lambda job: job.job_id))
            for job in jobs:
                assert job.job == (self.seen(job.job_id)[place].job or b"")
            job_ids = [job.job_id for job in jobs]
            return job_ids if in_order else sorted(job_ids), str(when(wait_ms, 0)), room.company

        self.both(taken, queues)
        self.taken += [(worker, pair) for pair in zip(*found, strict=True)]

    @action(2, worker=WORKERS, after=st.sampled_from([0, 0, 2**52]), count=st.integers(0, 2))
    def take_answers(self, worker, after, count):
        found: list[list[Taken]] = []

        async def taken(queue: TurnQueue, _: int) -> list[str]:
            jobs, _ = await queue.take_answers(worker, count, after)
            found.append(jobs)
            return [job.job_id for job in jobs]

        self.both(taken)
        self.taken += [(worker, pair) for pair in zip(*found, strict=True)]

    @action(
        3,
        needs="taken",
        pick=st.integers(0, 3),
        end=st.sampled_from(["end", "park", "park later", "again", "later"]),
        rows=ROWS,
        again=AGAIN,
        forgets=st.booleans(),
    )
    def finish(self, pick, end, rows, again, forgets):
        worker, pair = self.taken[-1 - pick % len(self.taken)]
        ledger = {attempt: row(attempt) for attempt in range(1, rows + 1)} if pair[0].job_id in (TURN, OTHER) else {}
        look_ms = LATER_MS if end == "park later" else None
        delay_ms = LATER_MS if end == "later" else 0
        for _ in range(1 + again):
            if end == "end":
                self.both(lambda queue, place: queue.end(worker, pair[place], ledger))
            elif end.startswith("park"):
                self.both(lambda queue, place: queue.park(worker, pair[place], look_ms, ledger))
            else:
                self.both(lambda queue, place: queue.again(worker, pair[place], delay_ms, ledger))
        if forgets:
            self.taken.remove((worker, pair))
        self.both(lambda queue, _: queue.usage("default"))

    @action(2, needs="taken", pick=st.integers(0, 3), limit=LIMITS, again=AGAIN)
    def set_aside(self, pick, limit, again):
        worker, pair = self.taken[-1 - pick % len(self.taken)]
        for _ in range(1 + again):
            self.both(lambda queue, place: queue.set_aside(worker, pair[place], limit))

    @action(2, name=JOBS, claim_too=st.sampled_from([True, True, False]))
    def falls_due(self, name, claim_too):
        if name in self.memory.scores:
            self.world.redis.zadd(keys.QUEUE, {name: 1})
            self.memory.scores[name] = 1
            if claim_too:
                self.world.redis.delete(keys.in_progress(name))
                self.memory.drop_claim(name)

    @action(name=st.sampled_from(ACME[1:]))
    def batch_grows_old(self, name):
        pool = LANES[name].pool
        if name in self.memory.lanes.ageing.get(pool, {}):
            self.world.redis.zadd(keys.AGEING_PREFIX + pool, {name: 1})
            self.memory.lanes.ageing[pool][name] = 1

    @action(worker=WORKERS)
    def bury(self, worker):
        owned = sorted(self.world.loop.run_until_complete(self.queues[REDIS].owned(worker)))

        async def sorted_owned(queue: TurnQueue, _: int) -> list[str]:
            return sorted(await queue.owned(worker))

        self.both(sorted_owned)
        self.both(lambda queue, _: queue.bury(worker, b"{}", owned))

    @action(name=JOBS)
    def job_expires(self, name):
        self.world.redis.delete(keys.job(name))
        self.memory.drop_job(name)

    @action(name=JOBS, taken_back=st.booleans())
    def announce(self, name, taken_back):
        marks: list[str] = []

        async def announced(queue: TurnQueue, _: int) -> bool:
            marks.append(await queue.announce(name))
            return bool(marks[-1])

        self.both(announced)
        if taken_back:
            self.both(lambda queue, place: queue.forget(name, marks[place]))

    @action(2, name=st.sampled_from(ACME), limits=LIMITED, again=AGAIN, taken_back=st.booleans())
    def admit(self, name, limits, again, taken_back):
        marks: list[str] = []

        async def admitted(queue: TurnQueue, _: int) -> tuple[bool, int]:
            found = await queue.admit(TurnKey.parse(name), limits)
            marks.append(found.mark)
            return bool(found.mark), found.left

        for _ in range(1 + again):
            reply = self.both(admitted)
            if taken_back and not isinstance(reply, TurnwireError):
                self.both(lambda queue, place: queue.forget(name, marks[place - 2]))
        own: Any = self.world.redis.smembers(keys.OWN_OPEN_PREFIX + "acme")
        assert {job_id.decode() for job_id in own} == self.memory.tenants.open_turns.get("acme", set())

    @action(worker=WORKERS, name=JOBS, over=st.booleans(), late=st.booleans(), later=st.booleans())
    def sweep(self, worker, name, over, late, later):
        if name not in self.memory.looks:
            return
        self.world.redis.zadd(keys.OPEN_TURNS, {name: 1})
        self.memory.looks[name] = 1
        marks: list[str] = []

        async def due(queue: TurnQueue, _: int) -> tuple[bool, list[str], str]:
            found = await queue.due(worker)
            marks.extend(mark for _, mark in found.jobs)
            return found.sweeps, [job_id for job_id, _ in found.jobs], str(when(found.next_ms, 0))

        memory = in_memory(self.memory, name)
        sweeps, *_ = self.both(due)
        if not sweeps:
            assert not marks, "one worker sweeps at a time"
            return
        assert bool(marks) is not (memory.queued and memory.job is not None), "a job in the queue will be taken"
        if not marks:
            return
        if later:
            self.both(lambda queue, _: queue.postpone(name, LATER_MS))
        elif not over or late:
            self._enqueue(name)
        if over:  # it had ended: but not if somebody asked for it since
            self.both(lambda queue, place: queue.forget(name, marks[place]))

    @action(after=st.booleans())
    def list_pending(self, after):
        async def listed(queue: TurnQueue, _: int) -> tuple[int, list[str]]:
            count, answers = await queue.pending(0, 10)
            found: list[Pending] = answers
            if after and answers:
                _, found = await queue.pending(answers[-1].since_us, 10)
            return count, [answer.run_id for answer in found]

        self.both(listed)

    @invariant()
    def both_queues_hold_the_same(self):
        for name, redis in zip(NAMES, in_redis(self.world.redis, NAMES), strict=True):
            memory = in_memory(self.memory, name)
            assert (redis.job is None) is (memory.job is None)
            redis.job = memory.job = None
            assert memory == redis, name
            assert redis.holder is None or redis.queued, "a claim without a job is never found again"
        for pool in ("default", "gpu", "cpu"):
            for lane in (pool, f"{pool}:batch"):
                tenants = [DEFAULT_TENANT, "acme"]
                assert lane_in_redis(self.world.redis, lane, tenants) == lane_in_memory(self.memory, lane), lane
        published: Any = self.world.redis.xrange(keys.LEDGER)
        assert self.memory.ledger == [fields[b"row"] for _, fields in published]
