"""The queue, and a plain model of it: jobs are asked for, claimed, given back, ended, lost and swept, in any order.

A worker is as bad as it can be: it ends jobs whose claim it lost, late and twice. Whatever it does, a job that was
asked for and has not ended is waiting, claimed by one worker, or will be found by the sweep.
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.model.actions import Actions
from tests.model.comparison import World
from tests.support.turns import SESSION
from turnwire.shared import keys
from turnwire.shared.store.queue import Taken, TurnQueue

TURN, OTHER = SESSION.turn(0).run_id, SESSION.turn(1).run_id
ANSWER = keys.persist_id(TURN)
JOBS = st.sampled_from([TURN, TURN, OTHER, ANSWER])
WORKERS = st.sampled_from(["host/1/a", "host/2/b"])
AGAIN = st.booleans()
LATER_MS = 60_000
action = Actions()


@dataclass
class Job:
    """What the queue should know of one."""

    job: bytes | None = None
    queued: bool = False
    due: bool = False
    holder: str | None = None
    open: bool = False


class QueueMachine(RuleBasedStateMachine):
    """Two turns, an answer to persist, two workers."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.queue = TurnQueue(world.store.redis, world.store.settings)
        self.jobs = {name: Job() for name in (TURN, OTHER, ANSWER)}
        self.taken: list[tuple[str, Taken]] = []
        world.redis.flushall()

    def run(self, coroutine: Any) -> Any:
        return self.world.loop.run_until_complete(coroutine)

    @rule(action=action.any())
    def then(self, action):
        action.happens(self)

    @action(worker=WORKERS)
    def heartbeat(self, worker):
        mine = {taken.run_id for owner, taken in self.taken if owner == worker}
        lost = self.run(self.queue.extend(worker, b"{}", sorted(mine)))
        assert lost == {name for name in mine if self.jobs[name].holder not in (None, worker)}
        for name in mine - lost:
            if self.jobs[name].queued:
                self.jobs[name].holder, self.jobs[name].due = worker, False

    @action(3, name=JOBS, again=AGAIN)
    def enqueue(self, name, again):
        self._enqueue(name, again=again)

    def _enqueue(self, name: str, *, again: bool) -> None:
        job = self.jobs[name]
        for _ in range(1 + again):
            waits = job.job is not None and job.queued and job.holder is None
            asked = self.queue.enqueue_persist(TURN) if name == ANSWER else self.queue.enqueue(name)
            assert self.run(asked) is not waits
            before, job.job = job.job, self.world.redis.get(keys.job(name))
            assert (job.job == before) is waits, "a job that runs gets other bytes: it will run again"
            job.open = job.queued = True
            job.due = job.due if waits or job.holder else True

    @action(3, worker=WORKERS)
    def take(self, worker):
        found, _ = self.run(self.queue.take(worker, 10))
        free = {name for name, job in self.jobs.items() if job.queued and job.due and job.holder is None}
        assert {taken.run_id for taken in found} == free
        for job in self.jobs.values():
            job.due = False
        for taken in found:
            job = self.jobs[taken.run_id]
            assert taken.job == (job.job or b"")
            job.holder = worker
            self.taken.append((worker, taken))

    @action(
        3,
        needs="taken",
        pick=st.integers(0, 3),
        end=st.sampled_from(["end", "park", "again", "later"]),
        again=AGAIN,
        forgets=st.booleans(),
    )
    def finish(self, pick, end, again, forgets):
        worker, taken = self.taken[-1 - pick % len(self.taken)]
        for _ in range(1 + again):
            match end:
                case "end":
                    self.run(self.queue.end(worker, taken))
                case "park":
                    self.run(self.queue.park(worker, taken))
                case "again":
                    self.run(self.queue.again(worker, taken))
                case "later":
                    self.run(self.queue.again(worker, taken, LATER_MS))
            self._finished(worker, taken, end)
        if forgets:
            self.taken.remove((worker, taken))

    def _finished(self, worker: str, taken: Taken, end: str) -> None:
        job = self.jobs[taken.run_id]
        if job.holder not in (None, worker):
            return
        if job.job is not None and job.job != taken.job:
            end = "again"  # it was asked for meanwhile
        job.holder = None
        if end in ("again", "later"):
            job.queued, job.due = True, end == "again"
            return
        job.job, job.queued, job.due = None, False, False
        job.open = job.open and end != "end"

    @action(2, name=JOBS, claim_too=st.sampled_from([True, True, False]))
    def falls_due(self, name, claim_too):
        job = self.jobs[name]
        if job.queued:
            self.world.redis.zadd(keys.QUEUE, {name: 1})
            job.due = True
            if claim_too:
                self.world.redis.delete(keys.in_progress(name))
                job.holder = None

    @action(worker=WORKERS)
    def bury(self, worker):
        owned = set(self.run(self.queue.owned(worker)))
        assert owned == {name for name, job in self.jobs.items() if job.holder == worker and job.queued}
        if self.run(self.queue.bury(worker, b"{}", sorted(owned))):
            for name in owned:
                self.jobs[name].holder, self.jobs[name].due = None, True

    @action(name=JOBS)
    def job_expires(self, name):
        self.world.redis.delete(keys.job(name))
        self.jobs[name].job = None

    @action(name=JOBS, over=st.booleans(), late=st.booleans())
    def sweep(self, name, over, late):
        if not self.jobs[name].open:
            return
        self.world.redis.zadd(keys.OPEN_TURNS, {name: 1})
        [(found, mark)], _ = self.run(self.queue.due())
        assert found == name
        if not over or late:
            self._enqueue(name, again=False)
        if over:  # it had ended: but not if somebody asked for it since
            self.run(self.queue.forget(name, mark))
            self.jobs[name].open = late

    @invariant()
    def the_queue_is_as_the_model(self):
        pipe = self.world.redis.pipeline(transaction=False)
        pipe.time()
        for name in self.jobs:
            pipe.get(keys.job(name)).get(keys.in_progress(name))
            pipe.zscore(keys.QUEUE, name).zscore(keys.OPEN_TURNS, name).zscore(keys.PENDING, name)
        (now_s, _), *found = pipe.execute()
        for name, job in self.jobs.items():
            (stored, holder, score, look, listed), found = found[:5], found[5:]
            due = score is not None and score < now_s * 1000 + LATER_MS // 2
            assert job == Job(stored, score is not None, due, holder and holder.decode(), look is not None), name
            assert holder is None or score is not None, "a claim without a job is never found again"
            assert (listed is not None) is (name == ANSWER and job.open)
