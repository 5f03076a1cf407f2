"""What came of a turn that ran in memory."""

from collections.abc import Mapping
from typing import Any

import msgspec

from turnwire.shared.events import Entry
from turnwire.shared.keys import TurnKey
from turnwire.shared.ledger import LedgerRow
from turnwire.shared.model import Persist, StepRecord, TurnError, TurnRecord, TurnRequest, Usage
from turnwire.testing.reading import event_of, flaws_of_log
from turnwire.testing.stage import Stage


class Step(msgspec.Struct, frozen=True):
    """A checkpoint: one of the product's steps, or one of Turnwire's own (`turn`, `persist_assistant_message`, …)."""

    position: int | str
    intent: str
    kind: str
    status: str  # completed, or failed
    result: Any  # decoded; a stream's is the list of its events
    attempts: int  # how often its work was tried, in all attempts whose checkpoints were stored
    error: dict[str, Any] | None = None


class TurnRun:
    """A turn that ran until it ended, or until it waited for a signal that was not given.

    Attributes:
        events: what a client that opens the turn now reads, oldest first
        record: the turn as the API shows it
        steps: every checkpoint, by position
        persist_calls: every call of `persist_assistant_message`, also those that raised
        step_runs: every time that the work of a step was run, in whatever attempt
        model_calls: every `turn.usage.add`, with the attempt's number
        rows: the ledger rows of the attempts that have ended
        log_flaws: what a client saw that must not be: a gap, a second end, events that were taken back and stayed
        writes: the names of the writes that the workers came to, in order; crash points are counted in it, from 1
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
        """It waits for a signal."""
        return self.record.awaiting is not None

    @property
    def awaiting(self) -> str | None:
        """The key of the signal that it waits for."""
        return self.record.awaiting

    @property
    def final_text(self) -> str | None:
        """The answer, as it is kept."""
        return self.record.final_text

    @property
    def error(self) -> TurnError | None:
        """Why it failed."""
        return self.record.error

    @property
    def attempts(self) -> int:
        """How many attempts there were."""
        return self.record.attempt

    @property
    def usage(self) -> Usage | None:
        """What is known of the use of all attempts; None before the turn has ended."""
        return self.record.usage

    @property
    def persist(self) -> Persist:
        """`done`, `pending` (it is still being tried), or `none`: the product has no such hook."""
        return self.record.persist

    @property
    def persisted(self) -> str | None:
        """The text of the last call of `persist_assistant_message` that worked."""
        worked = [call.text for call in self.persist_calls if call.error is None]
        return worked[-1] if worked else None

    def step(self, intent: str) -> Step:
        """The first checkpoint of this intent.

        Raises:
            KeyError: there is none. The message names those that there are.
        """
        for step in self.steps:
            if step.intent == intent:
                return step
        raise KeyError(f"no step {intent!r}; there are {', '.join(step.intent for step in self.steps) or 'none'}")

    async def signal(self, key: str, payload: Any) -> "TurnRun":
        """Send a signal and run on. Returns a new TurnRun of the same turn.

        Raises:
            TurnEnded: the turn has ended.
        """
        await self._stage.signal(self._key, key, payload)
        return await self.wait(0)

    async def wait(self, seconds: float) -> "TurnRun":
        """Let time pass and do what falls due: a signal's timeout, a retry. Returns a new TurnRun of the same turn."""
        await self._stage.wait(self._key, seconds)
        return await look(self._stage, self._key)

    async def ask(self, message: str, *, signals: Mapping[str, Any] | None = None, **fields: Any) -> "TurnRun":
        """Run the next turn of the same session; `fields` as of `run_turn`: user, project, domain, model, metadata."""
        key = await self._stage.run(TurnRequest(message=message, **fields), signals or {}, [])
        return await look(self._stage, key)

    async def retry(self, *, signals: Mapping[str, Any] | None = None) -> "TurnRun":
        """Ask the same turn again after it has failed, as a client may. Returns a new TurnRun of the same turn.

        Raises:
            WrongUse: it has not failed.
        """
        await self._stage.retry(self._key, signals or {})
        return await look(self._stage, self._key)

    def __repr__(self) -> str:
        return f"TurnRun({self.record.run_id}, {self.status}, {self.attempts} attempts, {self.final_text!r})"


async def look(stage: Stage, key: TurnKey) -> TurnRun:
    """The turn as it stands now."""
    steps = [_step_of(record) for _, record in sorted((await stage.store.steps(key)).items(), key=_in_order)]
    return TurnRun(stage, await stage.record(key), await stage.log(key), steps, await stage.store.ledger(key))


def _step_of(record: StepRecord) -> Step:
    result = msgspec.json.decode(record.result)
    return Step(record.index, record.intent, record.kind, record.status, result, record.attempts, record.error)


def _in_order(step: tuple[int | str, StepRecord]) -> tuple[bool, int, str]:
    """Those of later hooks come after the producer's."""
    position = step[0]
    return (True, 0, position) if isinstance(position, str) else (False, position, "")
