"""The result of a turn that ran in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from turnwire.shared.events import Entry
from turnwire.shared.keys import TurnKey
from turnwire.shared.ledger import LedgerRow
from turnwire.shared.model import Persist, StepRecord, TurnError, TurnRecord
from turnwire.shared.usage import Usage
from turnwire.testing.reading import event_of, flaws_of_log
from turnwire.testing.stage import Stage, request_of
from turnwire.worker.turn.accumulator import TextAccumulator


class Step(msgspec.Struct, frozen=True):
    """A checkpoint of one of the product's steps, or of Turnwire's own (`turn`, `persist_assistant_message`, …)."""

    position: int | str
    intent: str
    kind: str
    status: str  # completed, or failed
    result: Any  # the decoded JSON; for a stream, the list of its events
    attempts: int  # how often the work was tried, over all attempts that stored a checkpoint of it
    error: dict[str, Any] | None = None


class TurnRun:
    """A turn that ran until it ended, or until it waited for a signal that was not given.

    Attributes:
        events: list[Event], the events that a client reads if it opens the turn now, oldest first.
        record: TurnRecord, the turn as the API shows it.
        steps: list[Step], every checkpoint, by position.
        persist_calls: list[PersistCall], every call of `persist_assistant_message`, with those that raised.
        step_runs: list[StepRun], every run of a step's work, over all attempts.
        model_calls: list[tuple[int, ModelCall]], every `turn.usage.add`, with the number of its attempt.
        rows: list[LedgerRow], the ledger rows of the attempts that have ended.
        log_flaws: list[str], faults that a client saw: a gap, a second end, or events that should have been dropped.
        writes: list[str], the names of the writes that the workers came to, in order. Crash points count them from 1.
    """

    def __init__(
        self, stage: Stage, record: TurnRecord, log: list[Entry], steps: list[Step], rows: list[LedgerRow]
    ) -> None:
        self.record = record
        self.events = [event_of(entry) for entry in log]
        self.steps = steps
        self.rows = rows
        self.writes = list(stage.faults.reached)
        self.log_flaws = flaws_of_log(log, ended=record.terminal) + stage.reader.flaws_beside(log)
        self.persist_calls = list(stage.seen.persist_calls)
        self.step_runs = list(stage.seen.step_runs)
        self.model_calls = list(stage.seen.model_calls)
        self._stage = stage
        self._key = TurnKey.parse(record.run_id)

    @property
    def status(self) -> str:
        """`completed`, `failed`, `cancelled` or `suspended`."""
        return self.record.status.value

    @property
    def suspended(self) -> bool:
        """Whether the turn waits for a signal."""
        return self.record.awaiting is not None

    @property
    def awaiting(self) -> str | None:
        """The key of the signal that the turn waits for; None if it does not wait."""
        return self.record.awaiting

    @property
    def final_text(self) -> str | None:
        """The answer as it is kept; None if the turn has none, for example because it was cancelled."""
        return self.record.final_text

    @property
    def streamed_text(self) -> str:
        """The text of the answer that a client has read in `events`, also if the turn failed or was cancelled."""
        text = TextAccumulator()
        for event in self.events:
            text.add(event.type, event.data)
        return text.text

    @property
    def error(self) -> TurnError | None:
        """The reason why the turn failed or was cancelled; None if it did neither."""
        return self.record.error

    @property
    def attempts(self) -> int:
        """How many attempts there were."""
        return self.record.attempt

    @property
    def usage(self) -> Usage | None:
        """The known usage of all attempts together; None before the turn has ended."""
        return self.record.usage

    @property
    def persist(self) -> Persist:
        """`done`; `pending`, if it is still being tried; or `none`, if there is no such hook or no text to persist."""
        return self.record.persist

    @property
    def persisted(self) -> str | None:
        """The text of the last call of `persist_assistant_message` that worked; None if there was none."""
        worked = [call.text for call in self.persist_calls if call.error is None]
        return worked[-1] if worked else None

    def step(self, intent: str) -> Step:
        """Return the first checkpoint of this intent.

        Raises:
            KeyError: there is none. The message names the intents that there are.
        """
        for step in self.steps:
            if step.intent == intent:
                return step
        raise KeyError(f"no step {intent!r}; there are {', '.join(step.intent for step in self.steps) or 'none'}")

    async def signal(self, key: str, payload: Any) -> "TurnRun":
        """Send a signal, and run the turn on. Returns a new TurnRun of the same turn.

        Raises:
            TurnEnded: the turn has ended.
        """
        await self._stage.signal(self._key, key, payload)
        return await self.wait(0)

    async def cancel(self, reason: str = "") -> "TurnRun":
        """Cancel a turn that waits for a signal. Returns a new TurnRun of the same turn.

        A turn that has ended stays as it is. `cancel_after` of `run_turn` cancels a turn while its producer runs.
        """
        await self._stage.cancel(self._key, reason)
        return await look(self._stage, self._key)

    async def wait(self, seconds: float) -> "TurnRun":
        """Let time pass, and run what falls due, such as a signal's timeout. Returns a new TurnRun of the same turn."""
        await self._stage.wait(self._key, seconds)
        return await look(self._stage, self._key)

    async def ask(
        self,
        message: str | Sequence[Mapping[str, Any]],
        *,
        signals: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> "TurnRun":
        """Run the next turn of the same session. `fields` as for `run_turn`: parent, options, user, project, …"""
        key = await self._stage.run(request_of(message, **fields), signals or {})
        return await look(self._stage, key)

    async def retry(self, *, signals: Mapping[str, Any] | None = None) -> "TurnRun":
        """Ask the same turn again after it has failed or was cancelled, as a client may.

        Returns a new TurnRun of the same turn.

        Raises:
            WrongUse: the turn has neither failed nor was it cancelled.
        """
        await self._stage.retry(self._key, signals or {})
        return await look(self._stage, self._key)

    def __repr__(self) -> str:
        return f"TurnRun({self.record.run_id}, {self.status}, {self.attempts} attempts, {self.final_text!r})"


async def look(stage: Stage, key: TurnKey) -> TurnRun:
    """Return the turn as it is now."""
    steps = [_step_of(record) for _, record in sorted((await stage.store.steps(key)).items(), key=_in_order)]
    return TurnRun(stage, await stage.record(key), await stage.log(key), steps, await stage.store.ledger(key))


def _step_of(record: StepRecord) -> Step:
    result = msgspec.json.decode(record.result)
    return Step(record.index, record.intent, record.kind, record.status, result, record.attempts, record.error)


def _in_order(step: tuple[int | str, StepRecord]) -> tuple[bool, int, str]:
    """Sort the steps of later hooks behind those of the producer."""
    position = step[0]
    return (True, 0, position) if isinstance(position, str) else (False, position, "")
