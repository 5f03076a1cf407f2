"""What becomes of a job whose turn was not claimed, because it waits for something or has ended."""

import logging

from turnwire.shared.keys import TurnKey
from turnwire.shared.lanes import paused_field
from turnwire.shared.model import Claimed, Ended, Held, Paused, Suspended, TurnRecord, Unserved, Waits
from turnwire.shared.replies import Suspect
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.store.waking import cancel_and_wake, wake_next
from turnwire.worker.attempt.journal import EndedJournal
from turnwire.worker.attempt.outcome import (
    BEHIND_MS,
    SUSPENDED_MS,
    Again,
    Done,
    Hold,
    JobEnd,
    Parked,
    SetAside,
    unserved_ms,
)
from turnwire.worker.attempt.side_channel import SideChannel
from turnwire.worker.attempt.telling import ON_TURN_FAILED, call_back, tell, was_told
from turnwire.worker.attempt.traced import tell_given_up
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import Products, hook
from turnwire.worker.turn.accumulator import text_of
from turnwire.worker.turn.meter import Meter
from turnwire.worker.turn.prices import Prices
from turnwire.worker.turn.steps import Steps
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)

Unclaimable = Held | Waits | Paused | Suspended | Unserved | Suspect | Ended


class Unclaimed:
    """Does what is left to do, and says what becomes of the job."""

    def __init__(self, store: TurnStore, queue: TurnQueue, products: Products) -> None:
        self._store = store
        self._queue = queue
        self._products = products

    async def finish(self, key: TurnKey, claim: Unclaimable) -> JobEnd:
        """Return what should become of the job, after this worker has asked for the turn in vain."""
        match claim:
            case Held(ms):
                return Again(ms + 1)
            case Waits(index, interrupt):
                if interrupt:
                    await self._interrupt(key.session.turn(index))
                return Parked(BEHIND_MS)
            case Paused(kind, name, since_us):
                return Hold(paused_field(kind, name), since_us)
            case Unserved(project, waited_ms):
                self._products.tell_unserved(project, waited_ms)
                await until_answered(self._queue.note_unserved, key.run_id, project, waited_ms)
                return Again(unserved_ms(waited_ms))
            case Suspect(limit):
                logger.info("%s: workers died while they ran it; it waits for an idle worker", key.run_id)
                return SetAside(limit)
            case Suspended(rows):
                await self._call_back(key)
                return Parked(SUSPENDED_MS, rows)
            case Ended():
                await until_answered(wake_next, self._store, self._queue, key, claim.woken)
                await self._show(key, claim)
                await self._call_back(key)
                return Done(claim.rows)

    async def _call_back(self, key: TurnKey) -> None:
        """Let the client's server be told: nobody may have done so, if a script has ended the turn or a worker died."""
        if self._store.settings.callback_hosts:
            record = await until_answered(self._store.record, key)
            if record is not None:
                await call_back(self._queue, record)

    async def _interrupt(self, earlier: TurnKey) -> None:
        """Cancel the turn ahead in the session. Whoever ends it wakes the one that waits."""
        reason = "a later turn of its session interrupts it"
        await until_answered(cancel_and_wake, self._store, self._queue, earlier, reason)

    async def _show(self, key: TurnKey, ended: Ended) -> None:
        """Show the product the last events of a turn that no worker has ended, and tell it of a failure.

        The turn's job is still there meanwhile. So if this worker dies, the next one shows them again.
        """
        record = ended.record
        if record is not None and ended.events:
            tell_given_up(record, ended.rows)
        if record is None or not self._products.serves(record.project):
            return
        hooks = self._products.for_project(record.project)
        on_event = hook(hooks, "on_event")
        steps = Steps({}, self._store.settings, EndedJournal(self._store, key, record))
        turn = Turn(Claimed.of_ended(key, record), [], Meter(Prices()), steps)
        turn.findings = self._store.findings
        if on_event is not None and ended.events:
            channel = SideChannel(on_event, turn)
            for event in ended.events:
                channel.show(event)
            await channel.close()
        if record.error is not None and hook(hooks, ON_TURN_FAILED) is not None:
            await self._tell(key, record, hooks, turn)

    async def _tell(self, key: TurnKey, record: TurnRecord, hooks: ChatTurnHooks, turn: Turn) -> None:
        if record.error is None or await was_told(self._store, key, record.attempt):
            return
        text = record.partial_text
        streamed = [entry.event for entry in await until_answered(self._store.read_all, key)]
        turn.show_streamed(streamed)
        if text is None and hook(hooks, "transform_final_text") is None:
            text = text_of(streamed)
        await tell(self._store, hooks, turn, key, record.attempt, record.error, text or "")
