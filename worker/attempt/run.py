"""One turn from claim to settle: claim, load, produce, append, settle.

A turn runs in two tasks. The inner one works: it produces and finishes, and may be cancelled at any point by a lost
lease, a drain, a timeout. The outer one always gets the last word: it settles, or gives the turn back, or writes
nothing. So there is one place where an attempt ends, whatever ended it.
"""

import asyncio
import logging

import msgspec

from turnwire.shared.errors import AttemptFenced, BadRequest, ProducerError, TurnFailure
from turnwire.shared.events import ERROR as ERROR_EVENT
from turnwire.shared.events import RUN_COMPLETED, RUN_FAILED, encode_event
from turnwire.shared.keys import TurnKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed, Ended, Held, Persist, Suspended, TurnError, Waits
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.scripts import Arg
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.appender import Appender
from turnwire.worker.attempt.attempt import Attempt, Stop
from turnwire.worker.attempt.finish import finish, keep
from turnwire.worker.attempt.outcome import Again, Done, Parked
from turnwire.worker.attempt.produce import Forwarder, Produced, produce
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import Products
from turnwire.worker.turn.calling import mark_product
from turnwire.worker.turn.prices import Prices
from turnwire.worker.turn.steps import PRODUCE
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)

CANCELLED = "cancelled"
FOREIGN_MS = 60_000  # before a job that is not ours is looked at again


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt's work ended."""

    text: str | None
    persist: Persist = "none"
    error: TurnError | None = None
    error_shown: bool = False


class TurnRunner:
    """Runs turns; `attempts` are those that run now, by run id."""

    def __init__(
        self, store: TurnStore, queue: TurnQueue, products: Products, worker_id: str, prices: Prices | None = None
    ) -> None:
        self.attempts: dict[str, Attempt] = {}
        self.draining = False  # a turn that is claimed from now on goes back at once
        self._claiming: dict[str, bool] = {}  # run id -> somebody asked to cancel it meanwhile
        self.appender = Appender(store)
        self._store = store
        self._queue = queue
        self._products = products
        self._worker_id = worker_id
        self._prices = prices or Prices()

    async def run(self, run_id: str) -> Done | Parked | Again:
        """Run one attempt of the turn, if it is there to be run. Says what becomes of the job."""
        try:
            key = TurnKey.parse(run_id)
        except BadRequest:
            logger.warning("%r is not a turn: who else uses this queue?", run_id)
            return Again(FOREIGN_MS)
        self._claiming[run_id] = False
        try:
            claim = await until_answered(lambda: self._store.claim(key, self._worker_id))
        finally:
            cancelled = self._claiming.pop(run_id)
        match claim:
            case Held(ms):
                return Again(ms + 1)
            case Waits(index, interrupt):  # that turn's end wakes this one; make sure that it has a job itself
                earlier = key.session.turn(index)
                if interrupt:
                    await until_answered(
                        lambda: self._store.cancel(earlier, "a later turn of its session interrupts it")
                    )
                await self._enqueue(earlier)
                return Parked()
            case Suspended(rows):
                return Parked(rows=rows)
            case Ended(next_index, rows):
                await self._enqueue_next(key, next_index)
                return Done(rows)
            case Claimed() as claimed:
                return await self._run(claimed, cancelled=cancelled)

    async def renew(self) -> None:
        """Extend the lease of every attempt that runs here; stop those that were lost or should be cancelled."""
        held = self.held()
        replies = await self._store.renew_many([claimed for _, claimed in held]) if held else []
        for (attempt, claimed), reply in zip(held, replies, strict=True):
            self.renewed(attempt, claimed, reply)

    def held(self) -> list[tuple[Attempt, Claimed]]:
        """The attempts that run here, each with the claim that has to be renewed. May be called in any thread."""
        return [(attempt, attempt.claimed) for attempt in list(self.attempts.values())]

    def renewed(self, attempt: Attempt, claimed: Claimed, reply: bool | Exception) -> None:
        """Act on the reply to a renewal: stop an attempt whose lease was lost, or that somebody wants to cancel."""
        if isinstance(reply, AttemptFenced):
            if attempt.claimed is claimed and not (attempt.rewinding or attempt.suspending):
                attempt.stop(Stop.LOST)
        elif isinstance(reply, Exception):
            logger.warning("%s: heartbeat: %s", attempt.claimed.key.run_id, reply)
        elif reply:
            attempt.stop(Stop.CANCEL)

    def cancel(self, run_id: str) -> None:
        """Stop a turn because somebody asked for it, also one that is just being claimed here."""
        if run_id in self.attempts:
            self.attempts[run_id].stop(Stop.CANCEL)
        elif run_id in self._claiming:
            self._claiming[run_id] = True

    async def _run(self, claimed: Claimed, *, cancelled: bool) -> Done | Parked | Again:
        attempt = Attempt(claimed, self._store, self.appender, self._prices)
        if cancelled:
            attempt.stop(Stop.CANCEL)
        elif self.draining:
            attempt.stop(Stop.DRAIN)
        run_id = claimed.key.run_id
        self.attempts[run_id] = attempt
        ending = asyncio.create_task(self._end(attempt), name=f"turn {run_id}")
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:  # this process stops: the turn goes back before the cancellation goes on
            attempt.stop(Stop.DRAIN)
            await ending
            raise
        finally:
            attempt.log.abandon()
            del self.attempts[run_id]
        return ending.result()

    async def _end(self, attempt: Attempt) -> Done | Parked | Again:
        """Wait for the work, then have the last word."""
        work = asyncio.create_task(self._work(attempt), name=f"work {attempt.claimed.key.run_id}")
        attempt.begin(work)
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # seen, also where it does not matter any more
        try:
            if attempt.stopped is Stop.LOST:
                raise AttemptFenced("the lease was lost")
            if attempt.stopped is Stop.SUSPEND:
                logger.info("%s: suspended", attempt.claimed.key.run_id)
                return Parked(attempt.look_ms, attempt.rows)
            if work.cancelled() and attempt.stopped is Stop.DRAIN:
                return await self._give_back(attempt)
            return await self._settle(attempt, _outcome(attempt, work))
        except AttemptFenced:
            logger.warning("%s: attempt %d lost its lease", attempt.claimed.key.run_id, attempt.claimed.attempt)
            return Again(self._store.settings.lease_ms, attempt.rows)
        finally:
            await attempt.close()

    async def _work(self, attempt: Attempt) -> Outcome:
        """Load, produce, finish. May be cancelled at any point."""
        mark_product()
        claimed, settings = attempt.claimed, self._store.settings
        hooks = self._products.for_project(claimed.record.project)
        earlier = await until_answered(lambda: self._store.history(claimed.key, settings.history_turns))
        spent_s = (claimed.at_ms - (claimed.record.started_at or claimed.at_ms)) / 1000
        limit = asyncio.timeout(max(settings.turn_timeout_s - spent_s, 0))
        turn = Turn(
            claimed, earlier, attempt.meter, attempt.steps, lambda: attempt.stopped is not None or limit.expired()
        )
        attempt.open_side_channel(hooks, turn)
        try:
            async with limit:
                return await self._produce_and_finish(attempt, hooks, turn)
        except TimeoutError:
            if not limit.expired():
                raise
            return Outcome(None, error=TurnError("timeout", "the turn took longer than it may", retryable=True))

    async def _produce_and_finish(self, attempt: Attempt, hooks: ChatTurnHooks, turn: Turn) -> Outcome:
        settings = self._store.settings
        failed: Produced | None = None

        async def answer() -> str:
            nonlocal failed
            await attempt.load_standing()
            produced = await produce(hooks, turn, Forwarder(turn, settings.max_event_bytes), attempt)
            attempt.steps.check_all_asked()
            await attempt.rewind()
            if produced.error is not None:
                failed = produced
                raise TurnFailure(produced.error.message)
            return produced.text

        try:
            text: str = await attempt.steps.run(PRODUCE, answer, kind="llm")
        except TurnFailure:
            if failed is None:
                raise
            kept = await keep(attempt.steps, hooks, turn, failed.text, settings.persist_tries) if failed.text else None
            return Outcome(
                kept.final_text if kept else None, kept.persist if kept else "none", failed.error, failed.error_shown
            )
        finished = await finish(attempt.steps, hooks, turn, text, settings.persist_tries)
        return Outcome(finished.final_text, finished.persist)

    async def _settle(self, attempt: Attempt, outcome: Outcome) -> Done:
        await attempt.log.flush()
        claimed = attempt.claimed
        status, events = _last_events(claimed, outcome)
        fields: dict[str, Arg] = {"persist": outcome.persist, **attempt.meter.turn.fields()}
        if outcome.text is not None:
            fields["final_text"] = outcome.text
        if outcome.error is not None:
            error = outcome.error
            fields |= {"error_code": error.code, "error_message": error.message, "retryable": int(error.retryable)}
            logger.warning("%s: %s: %s", claimed.key.run_id, error.code, error.message)
        if outcome.persist == "pending":
            await until_answered(lambda: self._queue.enqueue_persist(claimed.key.run_id))
        seq, used = attempt.log.next_seq, attempt.meter.row
        next_index, attempt.rows[claimed.attempt] = await until_answered(
            lambda: self._store.settle(claimed, status, seq, events, fields, used)
        )
        attempt.show(events)
        await self._enqueue_next(claimed.key, next_index)
        return Done(attempt.rows)

    async def _give_back(self, attempt: Attempt) -> Again:
        claimed, used = attempt.claimed, attempt.meter.row
        if row := await until_answered(lambda: self._store.handover(claimed, used)):
            attempt.rows[claimed.attempt] = row
        logger.info("%s: handed over after attempt %d", claimed.key.run_id, claimed.attempt)
        return Again(0, attempt.rows)

    async def _enqueue_next(self, key: TurnKey, next_index: int | None) -> None:
        """Wake the turn of the session whose time has come."""
        if next_index is not None and next_index > key.index:
            await self._enqueue(key.session.turn(next_index))

    async def _enqueue(self, key: TurnKey) -> None:
        await until_answered(lambda: self._queue.enqueue(key.run_id, accepted=True))


def _outcome(attempt: Attempt, work: "asyncio.Task[Outcome]") -> Outcome:
    if work.cancelled():
        if attempt.stopped is Stop.CANCEL:
            return Outcome(None, error=TurnError(CANCELLED, "the turn was cancelled", retryable=False))
        return Outcome(None, error=TurnError(ProducerError.code, "the producer cancelled itself", retryable=False))
    error = work.exception()
    if error is None:
        return work.result()
    if isinstance(error, AttemptFenced):
        raise error
    if isinstance(error, TurnFailure):
        return Outcome(None, error=TurnError(error.code, str(error), error.retryable))
    logger.error("%s: the worker failed", attempt.claimed.key.run_id, exc_info=error)
    return Outcome(None, error=TurnError("internal", "the worker failed", retryable=True))


def _last_events(claimed: Claimed, outcome: Outcome) -> tuple[TurnState, list[bytes]]:
    """The terminal event, after an `error` event where there is news in it."""
    session_id, error = claimed.record.session_id, outcome.error
    if error is None:
        completed = {"sessionId": session_id, "replayed": False, "persisted": outcome.persist != "pending"}
        return TurnState.COMPLETED, [encode_event(RUN_COMPLETED, completed)]
    failed = encode_event(RUN_FAILED, {"sessionId": session_id, "message": error.message, "code": error.code})
    if error.code == CANCELLED:
        return TurnState.CANCELLED, [failed]
    if outcome.error_shown:
        return TurnState.FAILED, [failed]
    return TurnState.FAILED, [encode_event(ERROR_EVENT, msgspec.structs.asdict(error)), failed]
