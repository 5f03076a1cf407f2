"""A product that does not end when it is asked to. The turn's metadata name the way in which it hangs."""

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from tests.support.product import text
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.turn.turn import Turn

_NEVER = threading.Event()


async def swallow_every_cancellation() -> None:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


class Disobeying(ChatTurnHooks):
    """A turn that names one of the ways to hang does so; all others answer at once."""

    async def produce(self, turn: Turn) -> AsyncGenerator[Any]:
        yield text("begun")
        match turn.metadata.get("hangs"):
            case "task":
                await swallow_every_cancellation()
            case "thread":
                await turn.step("hang", _NEVER.wait)
            case "executor":
                hanging = [asyncio.to_thread(_NEVER.wait) for _ in range(64)]  # more than the executor has threads
                await asyncio.gather(*hanging)
            case "stray task":
                turn.stray = asyncio.create_task(swallow_every_cancellation())  # type: ignore[attr-defined]
                await asyncio.Event().wait()
            case "exit":
                atexit.register(_NEVER.wait)
                await asyncio.Event().wait()
            case "many threads":
                for number in range(int(turn.metadata["calls"])):
                    with suppress(TimeoutError):
                        await turn.step(f"hang {number}", _NEVER.wait, timeout=0.02)
                await asyncio.Event().wait()


hooks = Disobeying()
