"""After the producer: transform, persist, complete. Each once, in this order, each checkpointed.

A crash in between continues here on the next attempt and never calls the model again. Neither the turn's time limit
nor a cancel reaches here, because the answer is complete: each call of a hook has a time limit of its own. What does
not work here is left to the outbox, in the same order.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, Self

import msgspec

from turnwire.shared.errors import storable
from turnwire.shared.model import Persist
from turnwire.shared.settings import Settings
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import hook
from turnwire.worker.turn.hook_positions import in_hook
from turnwire.worker.turn.limits import HookTimeoutError, call_within
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)

RETRY_S: Final = 0.1  # before the second try of a hook; doubled each time


class Checkpointed(Protocol):
    """Runs work once per turn and keeps its result."""

    async def run(self, intent: str, work: Callable[[], Awaitable[Any]], kind: str = "logic") -> Any:
        """The stored result of this step, or `work`'s, stored."""


class Unstored:
    """Runs work without a checkpoint."""

    async def run(self, intent: str, work: Callable[[], Awaitable[Any]], kind: str = "logic") -> Any:  # noqa: ARG002
        """What `work` returns."""
        return await work()


class HookPolicy(msgspec.Struct, frozen=True):
    """How often a hook that raises is called before the outbox takes over, and how long one call may take."""

    tries: int
    limit_s: float
    kept: bool = True  # the steps that the hooks ask for are stored

    @classmethod
    def of(cls, settings: Settings, *, kept: bool = True) -> Self:
        """The policy for the hooks of a turn that runs."""
        return cls(settings.persist_tries, settings.longest_hook_s, kept)


class Finished(msgspec.Struct, frozen=True):
    """The text to keep, and how far persisting came.

    `final_text` is None while the text cannot be transformed: nobody may see it as it is. `untransformed` holds it.
    """

    final_text: str | None
    persist: Persist
    untransformed: str | None = None


async def finish(steps: Checkpointed, hooks: ChatTurnHooks, turn: Turn, text: str, policy: HookPolicy) -> Finished:
    """Run the hooks that follow the answer. Only a cancellation gets out of here; a lost lease is one."""
    finished = await keep(steps, hooks, turn, text, policy)
    if finished.persist != "pending":  # else it is called when the outbox has persisted the answer
        await complete(steps, hooks, turn, finished.final_text or "", policy)
    return finished


async def keep(steps: Checkpointed, hooks: ChatTurnHooks, turn: Turn, text: str, policy: HookPolicy) -> Finished:
    """Transform and persist the text; when one of them goes on failing, the text is `pending`."""
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
    """Persist a text that is transformed. Says how far it came."""
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
    """Tell the product that the turn is complete. What it raises is logged."""
    on_complete = hook(hooks, "on_turn_complete")
    if on_complete is None:
        return
    try:
        await steps.run("on_turn_complete", lambda: _done(policy, "on_turn_complete", on_complete, turn, text))
    except Exception:
        logger.exception("%s: on_turn_complete failed", turn.run_id)


async def transformed(policy: HookPolicy, transform: Callable[..., Any], turn: Turn, text: str) -> str:
    """What the product's hook makes of the text.

    Raises:
        TypeError: not text.
    """
    with in_hook("transform_final_text", kept=policy.kept):
        result = await call_within(policy.limit_s, transform, turn, text)
    if not isinstance(result, str):
        raise TypeError(f"transform_final_text returned {type(result).__name__}, not str")
    return storable(result)


async def _done(policy: HookPolicy, name: str, work: Callable[..., Any], *args: Any) -> None:
    with in_hook(name, kept=policy.kept):
        await call_within(policy.limit_s, work, *args)  # what a product returns here is its own business


async def _retried(work: Callable[..., Awaitable[Any]], policy: HookPolicy, *args: Any) -> Any:
    """Try again what raises, but not what hangs: the client waits for the end of its turn."""
    for attempt in range(1, policy.tries):
        try:
            return await work(policy, *args)
        except HookTimeoutError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a product raises, its message is kept
            logger.warning("try %d of %d failed: %s", attempt, policy.tries, error)
            await asyncio.sleep(RETRY_S * 2 ** (attempt - 1))
    return await work(policy, *args)
