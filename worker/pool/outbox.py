"""Persists the answers that a product could not persist when their turns ended. It tries again until it succeeds.

Each such turn has a job of its own, `persist:<run id>`. The job is tried again, with growing pauses, for as long as the
turn is kept, and each try keeps the turn longer. The job is enqueued before the turn is settled. So a crash in between
can leave a job that has nothing to do, but never an answer without a job.
The hooks run in the same order as at the end of a turn: transform, persist, complete.
"""

import logging
from typing import Final

from turnwire.shared.errors import RecordUnreadable
from turnwire.shared.keys import TurnKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.log_context import learn
from turnwire.shared.metrics import counter
from turnwire.shared.model import Claimed, TurnRecord
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.tracing import Span, TurnTrace, inside, tracing
from turnwire.worker.attempt.finish import Finished, HookPolicy, Unstored, complete, keep, persist
from turnwire.worker.attempt.journal import EndedJournal
from turnwire.worker.attempt.outcome import LATEST_UNSERVED_MS, UNREADABLE_MS, Again, Done, SetAside, pause_ms
from turnwire.worker.attempt.traced import attributes_of
from turnwire.worker.products import Products
from turnwire.worker.turn.meter import Meter
from turnwire.worker.turn.prices import Prices
from turnwire.worker.turn.steps import Steps
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)

FIRST_PAUSE_MS: Final = 1000
LONGEST_PAUSE_MS: Final = 60_000
RARE_PAUSE_MS: Final = 3_600_000  # between the tries of an answer that kills its workers
NOT_YET_MS: Final = 500

_FAILURES: Final = counter("turnwire_persist_failures_total")


class Outbox:
    """Runs the jobs of answers that are not persisted yet."""

    def __init__(self, store: TurnStore, products: Products) -> None:
        self._store = store
        self._products = products

    async def run(self, key: TurnKey, company: int = 0) -> Done | Again | SetAside:
        """Try once to persist the turn's answer. Returns what should become of the job.

        `company`: how many jobs run here at most, all of them suspects; 0: any jobs may.
        """
        try:
            record = await until_answered(self._store.record, key)
        except RecordUnreadable as error:
            logger.warning("%s; this worker leaves its answer: %s", error, error.__cause__)
            return Again(UNREADABLE_MS)
        if record is None or (record.terminal and record.persist != "pending"):
            return Done()
        learn(attempt=record.attempt, request_id=record.request_id)
        if not self._products.serves(record.project):
            self._products.tell_unserved(record.project, 0)
            return Again(LATEST_UNSERVED_MS)
        if not record.terminal:  # it is being settled, or was asked again; then its next end enqueues this job anew
            return Again(NOT_YET_MS if record.status is TurnState.RUNNING else LONGEST_PAUSE_MS)
        pauses = FIRST_PAUSE_MS, LONGEST_PAUSE_MS
        begun = await until_answered(self._store.try_to_persist, key, *pauses, rare_ms=RARE_PAUSE_MS, company=company)
        if begun is None:
            return Done()
        if begun.limit:
            return SetAside(begun.limit)
        if begun.wait_ms:  # it is too early, because the worker that tried last has died during its try
            return Again(begun.wait_ms)
        with inside(_span(record, begun.tries)) as span:
            is_persisted = await self._try(record, key)
            if not is_persisted:
                span.fail("persist_failed")
        if is_persisted:
            logger.info("%s: the answer is persisted at last, after %d tries", key.run_id, begun.tries)
            return Done()
        _FAILURES.add()
        again_ms = pause_ms(begun.tries, FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
        logger.warning("%s: try %d to persist the answer failed; %d ms to the next", key.run_id, begun.tries, again_ms)
        return Again(again_ms)

    async def _try(self, record: TurnRecord, key: TurnKey) -> bool:
        is_persisted = False
        try:
            text = await self._persisted(record, key)
            if text is not None:
                await until_answered(self._store.persisted, key, text)
                is_persisted = True
        except Exception:
            logger.exception("%s: the outbox failed", key.run_id)
        finally:
            if not is_persisted:  # also if this worker stops, which is no crash
                await until_answered(self._store.persist_failed, key)
        return is_persisted

    async def _persisted(self, record: TurnRecord, key: TurnKey) -> str | None:
        """Run the hooks that follow the answer. Returns the text that the product has stored; None if it could not."""
        hooks = self._products.for_project(record.project)
        settings, completed = self._store.settings, record.status is TurnState.COMPLETED
        journal = EndedJournal(self._store, key, record)
        stored = await until_answered(self._store.steps, key)
        known = Steps(stored if completed else {}, settings, journal)
        turn = Turn(Claimed.of_ended(key, record), [], Meter(Prices()), known)
        turn.findings = self._store.findings
        policy, steps = HookPolicy(1, settings.longest_hook_s, kept=completed), known if completed else Unstored()
        untransformed = await until_answered(self._store.untransformed, key)
        if untransformed is not None:
            finished = await keep(steps, hooks, turn, untransformed, policy)
        else:
            text = record.final_text or ""
            finished = Finished(text, await persist(steps, hooks, turn, text, policy))
        if finished.persist == "pending":
            return None
        if completed:
            await complete(steps, hooks, turn, finished.final_text or "", policy)
        return finished.final_text


def _span(record: TurnRecord, tries: int) -> Span:
    """Begin the span of one try."""
    attributes = attributes_of(record, record.attempt) | {"turnwire.try": tries}
    return tracing.of_turn(TurnTrace.of(record), "persist", "consumer", attributes, after=record.attempt)
