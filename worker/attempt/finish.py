"""Runs the hooks that follow the producer, in this order: transform, persist, complete. Each is a step of its own.

After a crash in between, the next attempt continues here and never calls the model again. The answer is complete, so
neither the turn's time limit nor a cancel stops these hooks. Each call of a hook has a time limit of its own. If a hook
keeps failing, the outbox tries it, and those after it, again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, Self

import msgspec

from turnwire.shared.errors import storable
from turnwire.shared.model import Persist, TurnError
from turnwire.shared.settings import Settings
from turnwire.shared.tracing import inside
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import hook
from turnwire.worker.turn.hook_positions import in_hook
from turnwire.worker.turn.limits import CallTimeoutError, call_within
from turnwire.worker.turn.traced import hook_span
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)

RETRY_S: Final = 0.1  # the pause before the second try of a hook; doubled each time
FOLLOWING: Final = ("transform_final_text", "persist_assistant_message", "on_turn_complete")


class Checkpointed(Protocol):
    """Runs work once per turn and keeps its result."""

    async def run(self, intent: str, work: Callable[[], Awaitable[Any]], kind: str = "logic") -> Any:
        """Return the stored result of the step `intent`. If there is none, run `work` and store its result."""


class Unstored:
    """Runs work without a checkpoint."""

    async def run(self, intent: str, work: Callable[[], Awaitable[Any]], kind: str = "logic") -> Any:  # noqa: ARG002
        """Run `work` and return its result."""
        with inside(hook_span(intent)):
            return await work()


class HookPolicy(msgspec.Struct, frozen=True):
    """The limits for the hooks that follow the answer."""

    tries: int  # a hook that raises is called so often before the outbox takes over
    limit_s: float  # one call may take so long
    kept: bool = True  # whether the steps that the hooks ask for are stored

    @classmethod
    def of(cls, settings: Settings, *, kept: bool = True) -> Self:
        """Return the policy for the hooks of a running turn."""
        return cls(settings.persist_tries, settings.longest_hook_s, kept)


def follows(hooks: ChatTurnHooks) -> bool:
    """Return whether a hook follows the producer. Then the answer has to be stored before the hook runs."""
    return any(hook(hooks, name) is not None for name in FOLLOWING)


class Finished(msgspec.Struct, frozen=True):
    """The text to keep, and how far persisting it came.

    If the text could not be transformed, nobody may see it as it is. Then `final_text` is None, and `untransformed`
    holds the text.
    """

    final_text: str | None
    persist: Persist
    untransformed: str | None = None


async def finish(steps: Checkpointed, hooks: ChatTurnHooks, turn: Turn, text: str, policy: HookPolicy) -> Finished:
    """Run the hooks that follow the answer. It raises nothing but a cancellation, which also a lost lease causes."""
    finished = await keep(steps, hooks, turn, text, policy)
    if finished.persist != "pending":  # otherwise the outbox calls it, when it has persisted the answer
        await complete(steps, hooks, turn, finished.final_text or "", policy)
    return finished


async def keep(steps: Checkpointed, hooks: ChatTurnHooks, turn: Turn, text: str, policy: HookPolicy) -> Finished:
    """Transform and persist the text. If one of the two hooks keeps failing, the text is `pending`."""
    transform = hook(hooks, "transform_final_text")
    if transform is not None:
        try:
            kept = await steps.run("transform_final_text", lambda: _retried(transformed, policy, transform, turn, text))
        except Exception:
            logger.exception("%s: the answer could not be transformed, so nobody sees it", turn.run_id)
            return Finished(None, "pending", text)
        text = kept
    return Finished(text, await persist(steps, hooks, turn, text, policy))


async def persist(steps: Checkpointed, hooks: ChatTurnHooks, turn: Turn, text: str, policy: HookPolicy) -> Persist:
    """Persist a text that is transformed. Returns `done`, `pending` if it failed, or `none` if there is no hook."""
    store = hook(hooks, "persist_assistant_message")
    if store is None:
        return "none"
    try:
        await steps.run(
            "persist_assistant_message", lambda: _retried(_done, policy, "persist_assistant_message", store, turn, text)
        )
    except Exception:
        logger.exception("%s: the answer could not be persisted", turn.run_id)
        return "pending"
    return "done"


async def complete(steps: Checkpointed, hooks: ChatTurnHooks, turn: Turn, text: str, policy: HookPolicy) -> None:
    """Tell the product that the turn is complete. An exception of its hook is logged."""
    on_complete = hook(hooks, "on_turn_complete")
    if on_complete is None:
        return
    try:
        await steps.run("on_turn_complete", lambda: _done(policy, "on_turn_complete", on_complete, turn, text))
    except Exception:
        logger.exception("%s: on_turn_complete failed", turn.run_id)


async def tell_failed(
    hooks: ChatTurnHooks, turn: Turn, error: TurnError, partial_text: str, policy: HookPolicy
) -> bool:
    """Tell the product that the turn has ended without an answer. Returns whether it was told."""
    on_failed = hook(hooks, "on_turn_failed")
    if on_failed is None:
        return False
    try:
        await _retried(lambda policy: _done(policy, "on_turn_failed", on_failed, turn, error, partial_text), policy)
    except Exception:
        logger.exception("%s: on_turn_failed failed", turn.run_id)
    return True


async def transformed(policy: HookPolicy, transform: Callable[..., Any], turn: Turn, text: str) -> str:
    """Let the product's hook transform the text, and return the result.

    Raises:
        TypeError: the hook returned something that is not text.
    """
    with in_hook("transform_final_text", kept=policy.kept):
        result = await call_within(policy.limit_s, transform, turn, text)
    if not isinstance(result, str):
        raise TypeError(f"transform_final_text returned {type(result).__name__}, not str")
    return storable(result)


async def _done(policy: HookPolicy, name: str, work: Callable[..., Any], *args: Any) -> None:
    with in_hook(name, kept=policy.kept):
        await call_within(policy.limit_s, work, *args)  # the return value of this hook means nothing


async def _retried(work: Callable[..., Awaitable[Any]], policy: HookPolicy, *args: Any) -> Any:
    """Try again if the hook raises, but not if it hangs, because the client waits for the end of its turn."""
    for attempt in range(1, policy.tries):
        try:
            return await work(policy, *args)
        except CallTimeoutError:
            raise
        except Exception as error:  # noqa: BLE001 - a product may raise anything, and the hook is tried again
            logger.warning("try %d of %d failed: %s", attempt, policy.tries, error)
            await asyncio.sleep(RETRY_S * 2 ** (attempt - 1))
    return await work(policy, *args)
