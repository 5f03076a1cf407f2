"""Runs one attempt of a turn, from claim to settle: claim, load, produce, append, settle.

An attempt runs in two tasks. The inner one works: it produces and finishes. A lost lease, a drain or a timeout may
cancel it at any point. The outer one always has the last word: it settles the turn, or gives it back, or writes
nothing. So every attempt ends in the same place, whatever ended it.
"""

import asyncio
import logging
from collections.abc import Collection

import msgspec

from turnwire.shared.errors import AttemptFenced, BadRequest, RecordUnreadable, StoreLost
from turnwire.shared.keys import TurnKey
from turnwire.shared.ledger import ran_ms
from turnwire.shared.log_context import learn
from turnwire.shared.model import Claimed, TurnError
from turnwire.shared.store.attempts import Claim, GiveBackReason
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.store.waking import wake_next
from turnwire.worker.attempt.appender import Appender
from turnwire.worker.attempt.attempt import Attempt, Lease, Stop
from turnwire.worker.attempt.counted import count_claim, count_end
from turnwire.worker.attempt.earlier import history_of
from turnwire.worker.attempt.ending import TIMED_OUT, Ending, cancelled_for, ending_of, settle
from turnwire.worker.attempt.finish import HookPolicy, Unstored, finish, follows, keep
from turnwire.worker.attempt.journal import AttemptJournal
from turnwire.worker.attempt.outcome import UNREADABLE_MS, Again, Done, JobEnd, Parked
from turnwire.worker.attempt.produce import Forwarder, Produced, produce
from turnwire.worker.attempt.stream import AttemptStream
from turnwire.worker.attempt.telling import call_back, partial_fields, partial_text, tell_of_attempt
from turnwire.worker.attempt.unclaimed import Unclaimed
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import Products, redaction_of
from turnwire.worker.turn.calling import mark_product
from turnwire.worker.turn.history import Message
from turnwire.worker.turn.prices import Prices
from turnwire.worker.turn.steps import PRODUCE, Steps
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)

FOREIGN_MS = 60_000  # after this time, a worker looks again at a job that is not Turnwire's


class TurnRunner:
    """Runs turns. `attempts` holds those that run now, by run id."""

    def __init__(
        self, store: TurnStore, queue: TurnQueue, products: Products, worker_id: str, prices: Prices | None = None
    ) -> None:
        self.attempts: dict[str, Attempt] = {}
        self._draining = False  # if True, a turn that is claimed is handed over at once
        self._looks: set[asyncio.Task[None]] = set()
        self._claiming: dict[str, bool] = {}  # run id of a turn that is being claimed -> a cancel came meanwhile
        self.appender = Appender(store)
        self._store = store
        self._queue = queue
        self._products = products
        self._worker_id = worker_id
        self._prices = prices or Prices()
        self._unclaimed = Unclaimed(store, queue, products)

    async def run(self, run_id: str, company: int = 0, paused: Collection[str] = ()) -> JobEnd:
        """Run one attempt of the turn, if it can run now. Returns what should become of the job.

        `company`: how many jobs run here at most, all of them suspects; 0: any. `paused`: as in Room.
        """
        try:
            key = TurnKey.parse(run_id)
            claim, cancelled = await self._claim(key, company, paused)
        except BadRequest:
            logger.warning("job %r is not a turn; does another program use this queue?", run_id)
            return Again(FOREIGN_MS)
        except RecordUnreadable as error:
            logger.warning("%s; this worker leaves it: %s", error, error.__cause__)
            return Parked(UNREADABLE_MS)
        if isinstance(claim, Claimed):
            return await self._run(claim, cancelled=cancelled)
        return await self._unclaimed.finish(key, claim)

    async def _claim(self, key: TurnKey, company: int, paused: Collection[str]) -> tuple[Claim, bool]:
        """Claim the turn. Returns what became of that, and whether a cancel came meanwhile."""
        run_id, products = key.run_id, self._products
        self._claiming[run_id] = False
        try:
            claim = await until_answered(
                self._store.claim, key, self._worker_id, products.projects,
                company=company, keeps_tail=products.continue_answers, paused=paused,
            )  # fmt: skip
        finally:
            cancelled = self._claiming.pop(run_id)
        return claim, cancelled

    def held(self) -> list[tuple[Attempt, Claimed]]:
        """List the attempts that run here, each with the claim to be renewed. May be called in any thread."""
        return [(attempt, attempt.claimed) for attempt in list(self.attempts.values())]

    def renewed(self, attempt: Attempt, claimed: Claimed, reply: bool | Exception) -> None:
        """Act on the reply to a renewal: stop an attempt whose lease was lost, or whose turn somebody has cancelled."""
        if isinstance(reply, AttemptFenced):
            if attempt.claimed is claimed and attempt.lease is Lease.HELD:
                attempt.stop(Stop.LOST)
        elif isinstance(reply, Exception):
            extra = {"run_id": attempt.claimed.key.run_id, "attempt": attempt.claimed.attempt}
            logger.warning("%s: the lease was not renewed (%s); trying again", extra["run_id"], reply, extra=extra)
        elif reply:
            attempt.stop(Stop.CANCEL)

    async def mingle(self) -> None:
        """Note that other turns run beside those that run here now, which had been claimed to run beside few."""
        turns = [attempt.claimed.key for attempt in self.attempts.values()]
        await until_answered(self._store.mingle, turns, self._worker_id)

    def give_back(self) -> None:
        """Stop every attempt and hand over its turn. Turns that are claimed from now on are handed over, too."""
        self._draining = True
        for attempt in list(self.attempts.values()):
            attempt.stop(Stop.DRAIN)

    def look_if_cancelled(self, run_id: str) -> None:
        """Ask Redis whether this turn was cancelled, and stop it if so. Its claim may still be under way.

        A message said that the turn was cancelled. Messages may be wrong, so only the turn's record counts.
        """
        if run_id in self.attempts:
            task = asyncio.create_task(self._renew(self.attempts[run_id]), name=f"look at {run_id}")
            self._looks.add(task)
            task.add_done_callback(self._looks.discard)
        elif run_id in self._claiming:
            self._claiming[run_id] = True
        else:
            logger.debug("a cancel of %r, which does not run here", run_id[:200])

    async def _renew(self, attempt: Attempt) -> None:
        claimed = attempt.claimed
        [reply] = await self._store.renew_many([claimed])
        self.renewed(attempt, claimed, reply)

    async def _run(self, claimed: Claimed, *, cancelled: bool) -> Done | Parked | Again:
        count_claim(claimed)
        learn(attempt=claimed.attempt, request_id=claimed.record.request_id)
        attempt = Attempt(claimed, self.appender, self._prices)
        if self._draining:
            attempt.stop(Stop.DRAIN)
        run_id = claimed.key.run_id
        self.attempts[run_id] = attempt
        if cancelled:
            self.look_if_cancelled(run_id)
        attempt.trace.span.enter()
        ending = asyncio.create_task(self._end(attempt), name=f"turn {run_id}")
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:  # this process stops, but first the turn goes back
            attempt.stop(Stop.DRAIN)
            await ending
            raise
        finally:
            attempt.log.abandon()
            attempt.trace.end(attempt.rows)
            del self.attempts[run_id]
        return ending.result()

    async def _end(self, attempt: Attempt) -> Done | Parked | Again:
        """Start the work and wait for its end. Then settle the turn, give it back, or write nothing."""
        run_id = attempt.claimed.key.run_id
        work = asyncio.create_task(self._work(attempt), name=f"work {run_id}")
        await attempt.end_of(work)
        try:
            match ending_of(attempt, work):
                case Stop.SUSPEND:
                    logger.info("%s: the turn is suspended until its signal comes", run_id)
                    await call_back(self._queue, attempt.claimed.record)
                    return Parked(attempt.look_ms, attempt.rows)
                case Stop.DRAIN:
                    return await self._hand_over(attempt)
                case Stop.LIMIT:
                    ending = TIMED_OUT
                case Stop.CANCEL:
                    ending = cancelled_for(await until_answered(self._store.cancel_reason, attempt.claimed.key))
                case ending:
                    pass
            return await self._last_word(attempt, ending)
        except RecordUnreadable:
            logger.warning("%s: what an earlier attempt stored cannot be read; this worker leaves it", run_id)
            return Parked(UNREADABLE_MS, (await self._hand_over(attempt)).rows)
        except StoreLost:
            return await self._hand_over(attempt, "store_lost")
        except AttemptFenced:
            logger.warning("%s: attempt %d lost its lease, so it stopped", run_id, attempt.claimed.attempt)
            return Again(self._store.settings.lease_ms, attempt.rows)
        finally:
            count_end(attempt.rows.get(attempt.claimed.attempt))
            await attempt.shown.close(attempt.rows)

    async def _work(self, attempt: Attempt) -> Ending:
        """Load the history, produce the answer and run the hooks that follow. It may be cancelled at any point."""
        mark_product()
        claimed, settings = attempt.claimed, self._store.settings_of(attempt.claimed.key.session.tenant)
        hooks = self._products.for_project(claimed.record.project)
        spent_s = ran_ms(claimed.rows.values(), claimed.record.started_at or 0) / 1000
        steps = Steps(claimed.steps, settings, AttemptJournal(attempt, self._store))
        earlier: list[Message] = []
        turn = Turn(claimed, earlier, attempt.meter, steps, lambda: attempt.stopped is not None, attempt.trace.context)
        turn.moves, turn.findings = attempt.moves, self._store.findings
        steps.redaction = redaction_of(hooks, turn)
        attempt.product = hooks, turn
        attempt.shown.open(hooks, turn)
        if steps.completed(PRODUCE) is None:
            attempt.limit(settings.turn_timeout_s - spent_s)
            await attempt.leave_if_stopped()  # the limit was over before this attempt began
        earlier += await history_of(attempt, self._store, hooks, turn)
        produced = await self._answer(attempt, hooks, turn, steps)
        await attempt.leave_if_stopped()
        attempt.answered = True  # from here on, neither a cancel nor the time limit stops the work
        return await self._finish(attempt, hooks, turn, steps, produced)

    async def _answer(self, attempt: Attempt, hooks: ChatTurnHooks, turn: Turn, steps: Steps) -> Produced:
        """Take the answer from its checkpoint, or let the producer make it."""
        checkpoint = steps.completed(PRODUCE)
        if checkpoint is not None:
            return Produced(msgspec.json.decode(checkpoint.result, type=str))
        return await self._produce(attempt, hooks, turn, steps)

    async def _finish(
        self, attempt: Attempt, hooks: ChatTurnHooks, turn: Turn, steps: Steps, produced: Produced
    ) -> Ending:
        """Store the answer's checkpoint, then run the hooks that follow it. Without any, the turn's end stores it."""
        settings = self._store.settings
        if produced.error is None:
            if steps.completed(PRODUCE) is None:
                draft = steps.begin(PRODUCE, kind="llm")
                if not follows(hooks):
                    return Ending(produced.text, step=steps.ended(draft, produced.text))
                await steps.complete(draft, produced.text)
            if attempt.claimed.crashes_alone >= settings.max_attempts:  # its hooks kill workers: the outbox goes on
                return Ending(None, "pending", untransformed=produced.text)
            kept = await finish(steps, hooks, turn, produced.text, HookPolicy.of(settings))
        elif produced.text:  # no checkpoint, not even of the hooks: when the turn is asked again, everything runs again
            kept = await keep(Unstored(), hooks, turn, produced.text, HookPolicy.of(settings, kept=False))
        else:
            return Ending(None, "none", produced.error, produced.error_shown)
        return Ending(kept.final_text, kept.persist, produced.error, produced.error_shown, kept.untransformed)

    async def _produce(self, attempt: Attempt, hooks: ChatTurnHooks, turn: Turn, steps: Steps) -> Produced:
        """Run the producer. The log holds its events and no others when this returns."""
        stream = AttemptStream(attempt, self._store)
        try:
            await stream.load()
            turn.count_left = stream.count_left
            most = self._store.settings_of(attempt.claimed.key.session.tenant).max_event_bytes
            produced = await produce(hooks, turn, Forwarder(turn, most, attempt.text), stream, steps.redaction)
            steps.check_all_asked()
            await stream.rewind()
        finally:
            await steps.close_streams()
        return produced

    async def _last_word(self, attempt: Attempt, ending: Ending) -> Done:
        """Settle the turn. If its end cannot be written as it is, settle it with an error: it must not run again."""
        try:
            return await self._settle(attempt, ending)
        except AttemptFenced:
            raise
        except Exception:
            logger.exception("%s: the end of the turn cannot be written as it is", attempt.claimed.key.run_id)
            unwritable = TurnError("internal", "the worker could not write the end of the turn", retryable=True)
            return await self._settle(attempt, Ending(None, error=unwritable))

    async def _settle(self, attempt: Attempt, ending: Ending) -> Done:
        claimed = attempt.claimed
        run_id = claimed.key.run_id
        status, events = ending.last_events(claimed.record.session_id, attempt.meter.finish_reason)
        if ending.error is not None:
            # Its message is what the client reads: it may be the client's own words, or the product's.
            logger.warning("%s: the turn ended with error %s", run_id, ending.error.code)
        if ending.persist == "pending":
            await until_answered(self._queue.enqueue_persist, run_id, lane=claimed.record.lane)
        fields, text = ending.fields() | attempt.meter.turn.fields(), ""
        if ending.error is not None:
            text = partial_text(attempt, ending)
            fields |= partial_fields(text, self._store)
        settled = await settle(attempt, self._store, status, events, fields, ending.step)
        attempt.rows[claimed.attempt] = settled.row
        attempt.shown.events(events)
        await until_answered(wake_next, self._store, self._queue, claimed.key, settled.woken)
        await call_back(self._queue, claimed.record)  # if this worker dies first, who takes the turn's job does so
        if ending.error is not None:
            await tell_of_attempt(attempt, self._store, ending.error, text)
        return Done(attempt.rows)

    async def _hand_over(self, attempt: Attempt, reason: GiveBackReason = "handover") -> Again:
        claimed = attempt.claimed
        if row := await until_answered(self._store.handover, claimed, attempt.meter.row, reason):
            attempt.rows[claimed.attempt] = row
        logger.info("%s: attempt %d ended, the turn goes back (%s)", claimed.key.run_id, claimed.attempt, reason)
        return Again(0, attempt.rows)
