"""Watches a product: it notes the steps that run, the model calls, and the answers that are persisted."""

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from turnwire.shared.model import ModelCall
from turnwire.testing.cancels import PlannedCancel
from turnwire.testing.errors import NotHooks
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import hook
from turnwire.worker.turn.calling import call, source_of
from turnwire.worker.turn.turn import Turn

_WATCHED = frozenset(
    {
        "persist_assistant_message",
        "on_turn_complete",
        "on_turn_failed",
        "history",
        "transform_final_text",
        "on_event",
        "on_ledger_row",
        "trace_flush",
    }
)


class PersistCall(msgspec.Struct, frozen=True):
    """One call of `persist_assistant_message`. `error`: the type and text of what it raised; None if it worked."""

    attempt: int
    message_id: str
    text: str
    error: str | None = None


class StepRun(msgspec.Struct, frozen=True):
    """One run of a step's work. A position may run again in a later attempt, or in the same one if the work raised."""

    attempt: int
    position: int
    intent: str


class Observations(msgspec.Struct):
    """Everything that a product did for one turn, over all attempts, in order."""

    persist_calls: list[PersistCall] = []
    step_runs: list[StepRun] = []
    model_calls: list[tuple[int, ModelCall]] = []  # attempt, call
    hook_calls: list[tuple[int, str]] = []  # attempt, name


def checked_hooks(hooks: Any) -> Any:
    """Return the hooks that are given, or those that the given class or function makes.

    Raises:
        NotHooks: they have no `produce` of their own.
    """
    made = hooks if not isinstance(hooks, type) and hasattr(hooks, "produce") else _made(hooks)
    produce = getattr(made, "produce", None)
    if isinstance(made, type) or not callable(produce):
        raise NotHooks(f"{type(made).__name__} has no method `produce`")
    if getattr(produce, "__func__", produce) is ChatTurnHooks.produce:
        raise NotHooks(f"{type(made).__name__} does not define `produce`")
    return made


def _made(factory: Any) -> Any:
    if not callable(factory):
        raise NotHooks(f"{type(factory).__name__} has no method `produce`, nor does it make hooks when it is called")
    return factory()


class ObservedHooks:
    """Passes every call on to a product's hooks and notes it. The hooks of a dead worker are not called.

    `cancel`: a cancel that comes while the producer runs.
    """

    def __init__(
        self, hooks: Any, seen: Observations, is_dead: Callable[[], bool], cancel: PlannedCancel | None = None
    ) -> None:
        self._hooks = hooks
        self._seen = seen
        self._is_dead = is_dead
        self.produce = self._observed_producer(hooks.produce)
        if cancel is not None:
            self.produce = self._cancelled_producer(hooks.produce, cancel)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._hooks, name)
        if name not in _WATCHED or hook(self._hooks, name) is None:
            return found

        async def observed(turn: Turn, *args: Any) -> Any:
            if self._is_dead():
                return None
            self._seen.hook_calls.append((turn.attempt, name))
            if name != "persist_assistant_message":
                return await call(found, turn, *args)
            return await self._persisted(found, turn, *args)

        return observed

    async def _persisted(self, persist: Callable[..., Any], turn: Turn, final_text: str) -> None:
        error: str | None = None
        try:
            await call(persist, turn, final_text)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
            raise
        finally:
            self._seen.persist_calls.append(PersistCall(turn.attempt, turn.message_id, final_text, error))

    def _observed_producer(self, produce: Callable[[Turn], Any]) -> Callable[[Turn], Any]:
        """Return a producer of the same kind: an async generator function, a coroutine function, or a plain one."""
        if inspect.isasyncgenfunction(produce):

            async def generated(turn: Turn) -> AsyncIterator[Any]:
                self._watch(turn)
                async with aclosing(produce(turn)) as events:
                    async for event in events:
                        yield event

            return generated
        if inspect.iscoroutinefunction(produce):

            async def awaited(turn: Turn) -> Any:
                self._watch(turn)
                return await produce(turn)

            return awaited

        def called(turn: Turn) -> Any:
            self._watch(turn)
            return produce(turn)

        return called

    def _cancelled_producer(self, produce: Callable[[Turn], Any], cancel: PlannedCancel) -> Callable[[Turn], Any]:
        async def cancelled(turn: Turn) -> Any:
            self._watch(turn)
            return cancel.over(await source_of(produce, turn), turn)

        return cancelled

    def _watch(self, turn: Turn) -> None:
        """Note the runs of this turn's steps and its model calls. Only this attempt's objects are changed for it."""
        positions = iter(range(2**31))
        for name in ("step", "stream"):
            setattr(turn, name, self._watched_step(turn, getattr(turn, name), positions))
        signal, add = turn.signal, turn.usage.add

        def asked(*args: Any, **kwargs: Any) -> Any:
            next(positions)
            return signal(*args, **kwargs)

        def added(model_call: ModelCall) -> None:
            self._seen.model_calls.append((turn.attempt, model_call))
            add(model_call)

        for owner, name, watched in ((turn, "signal", asked), (turn.usage, "add", added)):
            setattr(owner, name, watched)

    def _watched_step(self, turn: Turn, step: Callable[..., Any], positions: Any) -> Callable[..., Any]:
        def asked(intent: str, work: Callable[[], Any], **options: Any) -> Any:
            run = StepRun(turn.attempt, next(positions), intent)
            return step(intent, self._noted(run, work), **options)

        return asked

    def _noted(self, run: StepRun, work: Callable[[], Any]) -> Callable[[], Any]:
        if inspect.iscoroutinefunction(work):

            async def awaited() -> Any:
                self._seen.step_runs.append(run)
                return await work()

            return awaited
        if inspect.isasyncgenfunction(work):

            async def generated() -> AsyncIterator[Any]:
                self._seen.step_runs.append(run)
                async with aclosing(work()) as events:
                    async for event in events:
                        yield event

            return generated

        def called() -> Any:
            self._seen.step_runs.append(run)
            return work()

        return called
