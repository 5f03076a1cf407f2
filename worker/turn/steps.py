"""The checkpoints of one attempt: a step that completed once is never run again.

A product's steps are known by their position, counted in the order in which the producer asks for them; the worker's
own (the producer as a whole, and what follows it) by their intent.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, Final

import msgspec

from turnwire.shared.errors import TurnFailure
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.identity import canonical_json
from turnwire.shared.keys import signal_key
from turnwire.shared.model import Signal, StepRecord
from turnwire.shared.settings import Settings
from turnwire.worker.turn.boundary import opened
from turnwire.worker.turn.calling import call, source_of
from turnwire.worker.turn.recording import Recording, recorded

logger = logging.getLogger(__name__)

PRODUCE: Final = "turn"  # the producer as a whole
OWN_INTENTS: Final = frozenset({PRODUCE, "transform_final_text", "persist_assistant_message", "on_turn_complete"})


class DivergenceError(TurnFailure):
    """The producer asked for another step than an earlier attempt did at the same position."""

    code = "step_divergence"


class InputDriftError(DivergenceError):
    """The same step, but with other input."""

    code = "step_input_mismatch"


class StepResultError(TurnFailure):
    """A step's result, or its input, is not JSON."""

    code = "step_not_json"


class SignalTimeoutError(TurnFailure):
    """The signal that a turn waited for did not come in time. A producer may catch it and go on."""

    code = "signal_timeout"


class StepPolicy(msgspec.Struct, frozen=True):
    """How a step that raises is run again within one attempt; `timeout_s` limits each run, None does not."""

    retries: int = 0
    backoff_s: float = 0.5
    timeout_s: float | None = None


class Steps:
    """Runs steps and stores their results. `save` writes a record once the events that it covers are in the log."""

    def __init__(
        self,
        stored: dict[int, StepRecord],
        settings: Settings,
        save: Callable[[StepRecord], Awaitable[None]],
        now_ms: Callable[[], int],
        wait_for_signal: Callable[[str, int | None], Awaitable[Signal]],
    ) -> None:
        self._stored = stored
        self._settings = settings
        self._save = save
        self._now_ms = now_ms
        self._wait_for_signal = wait_for_signal
        self._streams: list[AsyncGenerator[ChatStreamEvent]] = []
        self._asked = 0  # positions that the producer has asked for
        self._end = max(stored, default=-1) + 1  # where the worker's own steps go

    def completed(self, intent: str) -> StepRecord | None:
        """The checkpoint of one of the worker's own steps, if an earlier attempt made it."""
        for record in self._stored.values():
            if record.intent == intent and record.status == "completed":
                return record
        return None

    async def run(self, intent: str, work: Callable[[], Awaitable[Any]], kind: str = "logic") -> Any:
        """One of the worker's own steps: its stored result, or `work`'s, stored.

        Raises:
            AttemptFenced: the lease was lost; nothing was stored.
        """
        done = self.completed(intent)
        if done is not None:
            return msgspec.json.decode(done.result)
        started_at = self._now_ms()
        try:
            result = await work()
        finally:
            await self._close_streams()
        position = max(self._end, self._asked)
        self._end = position + 1
        draft = StepRecord(index=position, intent=intent, kind=kind, started_at=started_at)
        await self._complete(draft, msgspec.json.encode(result))
        return result

    def step(
        self, intent: str, work: Callable[[], Any], kind: str, given: Any, policy: StepPolicy
    ) -> Coroutine[Any, Any, Any]:
        """A product's step. Its position is taken now, so steps that run side by side keep theirs.

        Raises (when awaited):
            DivergenceError, InputDriftError, StepResultError, AttemptFenced: see there.
        """
        position, self._asked = self._asked, self._asked + 1
        return self._step(position, intent, work, kind, given, policy)

    def stream(
        self, intent: str, work: Callable[[], Any], kind: str, given: Any, policy: StepPolicy
    ) -> AsyncGenerator[ChatStreamEvent]:
        """A product's step whose result is its events. Its position is taken now.

        Raises (when iterated):
            DivergenceError, InputDriftError, StepResultError, AttemptFenced: see there.
        """
        position, self._asked = self._asked, self._asked + 1
        stream = self._stream(position, intent, work, kind, given, policy)
        self._streams.append(stream)
        return stream

    def signal(self, key: str, timeout_s: float | None) -> Coroutine[Any, Any, Any]:
        """A step whose result comes from outside; see Turn.signal."""
        position, self._asked = self._asked, self._asked + 1
        return self._signal(position, signal_key(key), None if timeout_s is None else int(timeout_s * 1000))

    async def _signal(self, position: int, key: str, timeout_ms: int | None) -> Any:
        intent = f"signal:{key}"
        before = self._stored.get(position)
        _check_same(before, position, intent, None)
        if before is not None and before.status == "completed":
            signal = msgspec.json.decode(before.result, type=Signal)
        else:
            draft = StepRecord(index=position, intent=intent, kind="signal", started_at=self._now_ms())
            signal = await self._wait_for_signal(key, timeout_ms)
            await self._complete(draft, msgspec.json.encode(signal))
        if signal.timed_out:
            raise SignalTimeoutError(f"no signal {key!r} came in time")
        return msgspec.json.decode(signal.payload)

    async def _step(
        self, position: int, intent: str, work: Callable[[], Any], kind: str, given: Any, policy: StepPolicy
    ) -> Any:
        draft, stored = self._begin(position, intent, kind, given)
        if stored is not None:
            return msgspec.json.decode(stored)
        spent = draft.attempts
        for tries in range(1, policy.retries + 2):
            draft = msgspec.structs.replace(draft, attempts=spent + tries, started_at=self._now_ms())
            try:
                async with asyncio.timeout(policy.timeout_s):
                    result = _json(intent, "result", await call(work))
            except Exception as error:
                await self._fail(draft, error)
                if tries > policy.retries:
                    raise
                await asyncio.sleep(policy.backoff_s * 2 ** (tries - 1))
            else:
                await self._complete(draft, result)
                break
        return msgspec.json.decode(result)

    async def _stream(
        self, position: int, intent: str, work: Callable[[], Any], kind: str, given: Any, policy: StepPolicy
    ) -> AsyncGenerator[ChatStreamEvent]:
        draft, stored = self._begin(position, intent, kind, given)
        if stored is not None:
            try:
                for event in recorded(stored):
                    yield event
            except msgspec.ValidationError:
                raise DivergenceError(f"step {position} ({intent!r}) was no stream before, and is one now") from None
            return
        spent = draft.attempts
        for tries in range(1, policy.retries + 2):
            draft = msgspec.structs.replace(draft, attempts=spent + tries, started_at=self._now_ms())
            recording = Recording(self._settings)
            try:
                async with opened(await source_of(work)) as source:
                    async for event in source:
                        yield recording.take(event)
            except Exception as error:
                await self._fail(draft, error)
                if recording.begun or tries > policy.retries:  # what was passed on cannot be taken back
                    raise
                await asyncio.sleep(policy.backoff_s * 2 ** (tries - 1))
            else:
                break
        if recording.error is None:
            await self._complete(draft, recording.result())
        else:
            await self._fail(draft, recording.error)

    async def _close_streams(self) -> None:
        """Close the streams that the producer left before their end."""
        while self._streams:
            try:
                await self._streams.pop().aclose()
            except Exception:
                logger.exception("a stream that was left did not close")

    def _begin(self, position: int, intent: str, kind: str, given: Any) -> tuple[StepRecord, msgspec.Raw | None]:
        """What is to be stored, with the attempts so far; and the result, if it is stored already.

        Raises:
            DivergenceError, InputDriftError, StepResultError
        """
        digest = None if given is None else hashlib.sha256(_json(intent, "input", given)).hexdigest()
        before = self._stored.get(position)
        _check_same(before, position, intent, digest)
        attempts = before.attempts if before else 0
        draft = StepRecord(index=position, intent=intent, kind=kind, input_hash=digest, attempts=attempts)
        return draft, before.result if before is not None and before.status == "completed" else None

    def check_all_asked(self) -> None:
        """At the producer's end.

        Raises:
            DivergenceError: an earlier attempt had completed a step that this one never asked for.
        """
        for position, record in self._stored.items():
            if position >= self._asked and record.status == "completed" and record.intent not in OWN_INTENTS:
                raise DivergenceError(f"step {position} was {record.intent!r}; this attempt ended before it")

    async def _complete(self, draft: StepRecord, result: bytes) -> None:
        await self._save(
            msgspec.structs.replace(draft, status="completed", result=msgspec.Raw(result), completed_at=self._now_ms())
        )

    async def _fail(self, draft: StepRecord, error: Exception) -> None:
        logger.warning("step %d (%s) failed: %s: %s", draft.index, draft.intent, type(error).__name__, error)
        details = {"type": type(error).__name__, "message": str(error)[:1000]}
        await self._save(msgspec.structs.replace(draft, error=details, completed_at=self._now_ms()))


def _check_same(before: StepRecord | None, position: int, intent: str, digest: str | None) -> None:
    if intent in OWN_INTENTS:
        raise DivergenceError(f"{intent!r} is the name of one of Turnwire's own steps")
    if before is None:
        return
    if before.intent != intent:
        raise DivergenceError(f"step {position} was {before.intent!r} before, and is {intent!r} now")
    if before.input_hash != digest:
        raise InputDriftError(f"step {position} ({intent!r}) had other input before")


def _json(intent: str, what: str, value: Any) -> bytes:
    try:
        return canonical_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise StepResultError(f"the {what} of step {intent!r} is not JSON: {error}") from error
