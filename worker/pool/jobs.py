"""Does one job: it runs a turn, persists an answer, or tells somebody of an erasure or of a turn.

Then it tells the queue what becomes of the job.
"""

from collections.abc import Collection

from turnwire.shared.keys import CALLBACK_PREFIX, ERASURE_PREFIX, TurnKey, is_persist_id, run_id_of, tenant_of
from turnwire.shared.log_context import begin
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.queue import Taken, TurnQueue
from turnwire.worker.attempt.outcome import Again, Done, Hold, JobEnd, Parked, SetAside
from turnwire.worker.attempt.run import TurnRunner
from turnwire.worker.pool.callback_outbox import CallbackOutbox
from turnwire.worker.pool.erasure_outbox import ErasureOutbox
from turnwire.worker.pool.outbox import Outbox


class Jobs:
    """Knows the four kinds of jobs, and the ways in which a job ends."""

    def __init__(
        self,
        worker_id: str,
        queue: TurnQueue,
        runner: TurnRunner,
        outbox: Outbox,
        erasures: ErasureOutbox | None = None,
        callbacks: CallbackOutbox | None = None,
    ) -> None:
        self._worker_id = worker_id
        self._queue = queue
        self._runner = runner
        self._outbox = outbox
        self._erasures = erasures
        self._callbacks = callbacks

    async def run(self, job_id: str, company: int = 0, paused: Collection[str] = ()) -> JobEnd:
        """Do the work of the job. Returns what should become of it.

        `company`: how many jobs run here at most, all of them suspects; 0: any jobs may. `paused`: as in Room.
        """
        begin(run_id=run_id_of(job_id).removeprefix(CALLBACK_PREFIX), tenant=tenant_of(job_id))
        if is_persist_id(job_id):
            return await self._outbox.run(TurnKey.parse(run_id_of(job_id)), company)
        if job_id.startswith(ERASURE_PREFIX) and self._erasures is not None:
            return await self._erasures.run(job_id)
        if job_id.startswith(CALLBACK_PREFIX) and self._callbacks is not None:
            return await self._callbacks.run(job_id)
        return await self._runner.run(job_id, company, paused)

    async def mingle(self) -> None:
        """Note that other jobs run beside the turns that run here now."""
        await self._runner.mingle()

    async def finish(self, taken: Taken, end: JobEnd) -> None:
        """Tell the queue what becomes of the job. It tries until Redis answers."""
        match end:
            case Done(rows):
                await until_answered(self._queue.end, self._worker_id, taken, rows)
            case Parked(look_ms, rows):
                await until_answered(self._queue.park, self._worker_id, taken, look_ms, rows)
            case Again(delay_ms, rows):
                await until_answered(self._queue.again, self._worker_id, taken, delay_ms, rows)
            case Hold(field, since_us):
                await until_answered(self._queue.hold, self._worker_id, taken, field, since_us)
            case SetAside(limit):
                await until_answered(self._queue.set_aside, self._worker_id, taken, limit)
