"""After the producer: transform, persist, complete. Each once, in this order, each checkpointed.

A crash in between continues here on the next attempt and never calls the model again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from turnwire.shared.errors import storable
from turnwire.shared.model import Persist
from turnwire.worker.hooks import ChatTurnHooks, Turn
from turnwire.worker.products import hook
from turnwire.worker.turn.calling import call

logger = logging.getLogger(__name__)

RETRY_S: Final = 0.1  # before the second try of a hook; doubled each time


class Checkpointed(Protocol):
    """Runs work once per turn and keeps its result."""

    async def run(self, intent: str, work: Callable[[], Awaitable[Any]], kind: str = "logic") -> Any:
        """The stored result of this step, or `work`'s, stored."""


class Finished(msgspec.Struct, frozen=True):
    """The text to keep, and how far persisting came."""

    final_text: str
    persist: Persist


async def finish(steps: Checkpointed, hooks: ChatTurnHooks, turn: Turn, text: str, tries: int) -> Finished:
    """Run the hooks that follow the answer. Only a cancellation gets out of here; a lost lease is one."""
    finished = await keep(steps, hooks, turn, text, tries)
    on_complete = hook(hooks, "on_turn_complete")
    if on_complete is not None:
        try:
            await steps.run("on_turn_complete", lambda: _done(on_complete, turn, finished.final_text))
        except Exception:
            logger.exception("%s: on_turn_complete failed", turn.run_id)
    return finished


async def keep(steps: Checkpointed, hooks: ChatTurnHooks, turn: Turn, text: str, tries: int) -> Finished:
    """Transform and persist the text; when one of them goes on failing, the text stays as it was and `pending`."""
    transform, persist = hook(hooks, "transform_final_text"), hook(hooks, "persist_assistant_message")
    try:
        if transform is not None:
            text = await steps.run("transform_final_text", lambda: _retried(transformed, tries, transform, turn, text))
        if persist is not None:
            await steps.run("persist_assistant_message", lambda: _retried(_done, tries, persist, turn, text))
    except Exception:
        logger.exception("%s: the answer could not be persisted", turn.run_id)
        return Finished(text, "pending")
    return Finished(text, "none" if persist is None else "done")


async def transformed(transform: Callable[..., Any], turn: Turn, text: str) -> str:
    """What the product's hook makes of the text.

    Raises:
        TypeError: not text.
    """
    result = await call(transform, turn, text)
    if not isinstance(result, str):
        raise TypeError(f"transform_final_text returned {type(result).__name__}, not str")
    return storable(result)


async def _done(work: Callable[..., Any], *args: Any) -> None:
    await call(work, *args)  # what a product returns here is its own business


async def _retried(work: Callable[..., Awaitable[Any]], tries: int, *args: Any) -> Any:
    for attempt in range(1, tries):
        try:
            return await work(*args)
        except Exception as error:  # noqa: BLE001 - whatever a product raises, its message is kept
            logger.warning("try %d of %d failed: %s", attempt, tries, error)
            await asyncio.sleep(RETRY_S * 2 ** (attempt - 1))
    return await work(*args)
