"""Runs the steps of one attempt and stores their checkpoints. A step that has completed once is never run again.

A product's steps are found by their position, counted in the order in which the producer asks for them. The worker's
own steps, which are the producer as a whole and the hooks that follow it, are found by their intent.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec

from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.given_names import signal_key
from turnwire.shared.model import ANSWER, Signal, StepRecord
from turnwire.shared.settings import Settings
from turnwire.shared.tracing import inside
from turnwire.worker.turn.boundary import opened
from turnwire.worker.turn.calling import source_of
from turnwire.worker.turn.hook_positions import current_hook
from turnwire.worker.turn.limits import CLOSE_S, call_within
from turnwire.worker.turn.recording import Recording, recorded
from turnwire.worker.turn.redaction import Redaction
from turnwire.worker.turn.running_steps import RunningSteps
from turnwire.worker.turn.same_step import OWN_INTENTS, check_same
from turnwire.worker.turn.step_errors import (
    DivergenceError,
    MisplacedStepError,
    NestedStepError,
    SignalTimeoutError,
    StepResultError,
)
from turnwire.worker.turn.step_json import canonical, result_of
from turnwire.worker.turn.step_request import Run, StepPolicy, StepRequest, closed, done
from turnwire.worker.turn.traced import step_span

logger = logging.getLogger(__name__)

PRODUCE: Final = ANSWER  # the producer as a whole
# These come on every run again, until somebody changes the step's code.
_HOPELESS: Final = (StepResultError, NestedStepError, MisplacedStepError)


class Journal(Protocol):
    """Stores the steps of one attempt."""

    def now_ms(self) -> int:
        """Return the time in ms by the clock of Redis."""

    async def save(self, record: StepRecord) -> None:
        """Store a checkpoint as soon as the events that it covers are in the log. A lost lease cancels the caller."""

    async def wait_for_signal(self, key: str, timeout_ms: int | None) -> Signal:
        """Return the signal if it is there; otherwise suspend the turn, which cancels the caller."""


class Steps:
    """Runs steps and stores their results. `stored`: the checkpoints of earlier attempts, by position."""

    def __init__(self, stored: Mapping[int | str, StepRecord], settings: Settings, journal: Journal) -> None:
        self._stored = dict(stored)
        self._settings = settings
        self._journal = journal
        self._streams: list[AsyncGenerator[Any]] = []
        self.redaction: Redaction | None = None  # of the events of stream steps
        self._running = RunningSteps()
        self._asked = 0  # how many positions the producer has taken
        self._all_asked = False  # True when the producer has ended
        # the first free position for the worker's own steps
        self._end = 1 + max((position for position in stored if isinstance(position, int)), default=-1)

    def completed(self, intent: str) -> StepRecord | None:
        """Return the checkpoint of one of the worker's own steps, or None if it has not completed."""
        for record in self._stored.values():
            if record.intent == intent and record.status == "completed":
                return record
        return None

    async def run(self, intent: str, work: Callable[[], Awaitable[Any]], kind: str = "logic") -> Any:
        """Run one of the worker's own steps, unless it is stored already. Returns its result.

        Raises:
            AttemptFenced: the lease was lost. Nothing was stored.
        """
        done = self.completed(intent)
        if done is not None:
            return msgspec.json.decode(done.result)
        draft = self.begin(intent, kind)
        try:
            with inside(step_span(draft)):
                result = await work()
        finally:
            await self.close_streams()
        await self.complete(draft, result)
        return result

    def begin(self, intent: str, kind: str) -> StepRecord:
        """Return the record with which one of the worker's own steps begins. Nothing is stored yet."""
        return StepRecord(index=-1, intent=intent, kind=kind, started_at=self._journal.now_ms())

    async def complete(self, draft: StepRecord, result: Any) -> None:
        """Store the result of one of the worker's own steps."""
        await self._save(self.ended(draft, result))

    def ended(self, draft: StepRecord, result: Any) -> StepRecord:
        """Return the record of one of the worker's own steps. Its position comes after all those of the producer."""
        position = max(self._end, self._asked)
        self._end = position + 1
        return self._with_result(msgspec.structs.replace(draft, index=position), msgspec.json.encode(result))

    def step(self, asked: StepRequest) -> Coroutine[Any, Any, Any]:
        """Run a product's step when it is awaited. It takes its position now, so parallel steps keep their order.

        Raises:
            NestedStepError, MisplacedStepError: at once.
            DivergenceError, InputDriftError, StepResultError: when awaited.
        """
        return self._step(self._next_position(asked.intent), asked)

    def stream(self, asked: StepRequest) -> AsyncGenerator[ChatStreamEvent]:
        """Run a product's step whose result is its events when they are iterated. It takes its position now.

        Raises:
            NestedStepError, MisplacedStepError: at once.
            DivergenceError, InputDriftError, StepResultError: when iterated.
        """
        stream = self._stream(self._next_position(asked.intent), asked)
        self.closes(stream)
        return stream

    def closes(self, stream: AsyncGenerator[Any]) -> None:
        """Let `close_streams` close this stream, too. See Turn.closes."""
        self._streams.append(stream)

    def signal(self, key: str, timeout_s: float | None) -> Coroutine[Any, Any, Any]:
        """Wait for a signal, which is a step whose result comes from outside. See Turn.signal."""
        if (positions := current_hook()) is not None:
            raise MisplacedStepError(f"{positions.hook} cannot wait for a signal: only `produce` can")
        position = self._next_position(f"signal:{key}")
        return self._signal(position, signal_key(key), None if timeout_s is None else int(timeout_s * 1000))

    def _next_position(self, intent: str) -> int | str:
        """Return the position of the step that is asked for now.

        Raises:
            NestedStepError: the work of another step asks.
            MisplacedStepError: the producer has ended.
        """
        self._running.refuse_nested(intent)
        if (positions := current_hook()) is not None:
            return positions.take(intent)
        if self._all_asked:
            raise MisplacedStepError(f"step {intent!r} was asked for after the producer has ended")
        self._asked += 1
        return self._asked - 1

    async def _signal(self, position: int | str, key: str, timeout_ms: int | None) -> Any:
        intent = f"signal:{key}"
        before = self._stored.get(position)
        check_same(before, position, intent, None)
        if before is not None and before.status == "completed":
            signal = msgspec.json.decode(before.result, type=Signal)
        else:
            draft = StepRecord(index=position, intent=intent, kind="signal", started_at=self._journal.now_ms())
            await self._running.none_left()  # a suspension would cancel running steps, and they would run again
            signal = await self._journal.wait_for_signal(key, timeout_ms)
            await self._save(self._with_result(draft, msgspec.json.encode(signal)))
        if signal.timed_out:
            raise SignalTimeoutError(f"no signal {key!r} came in time")
        return msgspec.json.decode(signal.payload)

    async def _step(self, position: int | str, asked: StepRequest) -> Any:
        draft, stored = self._begin(position, asked)
        if stored is not None:
            return msgspec.json.decode(stored)
        with self._running.inside():
            return msgspec.json.decode(await self._result(draft, asked))

    async def _result(self, draft: StepRecord, asked: StepRequest) -> bytes:
        for run in self._runs(draft, asked.policy):
            try:
                with inside(step_span(run.record)):
                    result = result_of(asked.intent, await done(asked), self._settings.max_step_bytes)
            except Exception as error:
                if not await self._again(run, error, allowed=not isinstance(error, _HOPELESS)):
                    raise
            else:
                await self._save(self._with_result(run.record, result))
                break
        return result

    async def _stream(self, position: int | str, asked: StepRequest) -> AsyncGenerator[ChatStreamEvent]:
        draft, stored = self._begin(position, asked)
        if stored is not None:
            try:
                for event in recorded(stored, redacted=self.redaction is not None):
                    yield event
            except msgspec.ValidationError:
                was = f"step {position} ({asked.intent!r}) was not a stream before"
                raise DivergenceError(f"{was}, and is one now") from None
            return
        with self._running.inside():
            for run in self._runs(draft, asked.policy):
                recording = Recording(self._settings, redacted=self.redaction is not None)
                try:
                    with inside(step_span(run.record)) as span:
                        async with opened(await source_of(asked.work), self.redaction) as source:
                            async for event in source:
                                taken = recording.take(event)
                                self._running.leave(span)  # the loop that reads the stream may ask for steps
                                try:
                                    yield taken
                                finally:
                                    self._running.enter(span)
                except Exception as error:  # events that were passed on cannot be taken back
                    if not await self._again(run, error, allowed=not (recording.begun or isinstance(error, _HOPELESS))):
                        raise
                else:
                    break
            if recording.error is None:
                await self._save(self._with_result(run.record, recording.result()))
            else:
                await self._fail(run.record, recording.error)

    def _runs(self, draft: StepRecord, policy: StepPolicy) -> Iterator[Run]:
        """Yield the runs that a step may have in one attempt."""
        for retry in range(policy.retries + 1):
            pause_s = policy.backoff_s * 2**retry if retry < policy.retries else None
            attempts, started_at = draft.attempts + retry + 1, self._journal.now_ms()
            yield Run(msgspec.structs.replace(draft, attempts=attempts, started_at=started_at), pause_s)

    async def _again(self, run: Run, error: Exception, *, allowed: bool = True) -> bool:
        """Store that a run failed. Returns True, after a pause, if the step may run again."""
        await self._fail(run.record, error)
        if run.pause_s is None or not allowed:
            return False
        await asyncio.sleep(run.pause_s)
        return True

    async def close_streams(self) -> None:
        """Close the streams that the producer left before their end."""
        while self._streams:
            stream = self._streams.pop()
            if getattr(stream, "ag_frame", None) is None:  # it has ended
                continue
            try:
                await call_within(CLOSE_S, closed, stream)
            except Exception:
                logger.exception("a stream that was left before its end could not be closed")

    def _begin(self, position: int | str, asked: StepRequest) -> tuple[StepRecord, msgspec.Raw | None]:
        """Return the record that counts the runs of earlier attempts, and the result if one is stored already.

        Raises:
            DivergenceError, InputDriftError: an earlier attempt asked for another step, or with other input, here.
            StepResultError: the input is not JSON.
        """
        intent, input_hash = asked.intent, None
        if asked.input is not None:
            input_hash = hashlib.sha256(canonical(intent, "input", asked.input)).hexdigest()
        before = self._stored.get(position)
        check_same(before, position, intent, input_hash)
        attempts = before.attempts if before else 0
        draft = StepRecord(index=position, intent=intent, kind=asked.kind, input_hash=input_hash, attempts=attempts)
        return draft, before.result if before is not None and before.status == "completed" else None

    def check_all_asked(self) -> None:
        """Check, at the producer's end, that it has asked for every step that an earlier attempt completed.

        Raises:
            DivergenceError: it has not.
        """
        self._all_asked = True
        for position, record in self._stored.items():
            if (
                isinstance(position, int)
                and position >= self._asked
                and record.status == "completed"
                and record.intent not in OWN_INTENTS
            ):
                raise DivergenceError(f"step {position} was {record.intent!r}; this attempt ended before it")

    def _with_result(self, draft: StepRecord, result: bytes) -> StepRecord:
        raw, now_ms = msgspec.Raw(result), self._journal.now_ms()
        return msgspec.structs.replace(draft, status="completed", result=raw, completed_at=now_ms)

    async def _save(self, record: StepRecord) -> None:
        positions = current_hook()
        if isinstance(record.index, str):  # a hook may be called again in this attempt
            self._stored[record.index] = record
        if positions is None or positions.kept:
            await self._journal.save(record)

    async def _fail(self, draft: StepRecord, error: Exception) -> None:
        logger.warning("step %s (%s) failed: %s: %s", draft.index, draft.intent, type(error).__name__, error)
        details = {"type": type(error).__name__, "message": str(error)[:1000]}
        await self._save(msgspec.structs.replace(draft, error=details, completed_at=self._journal.now_ms()))
