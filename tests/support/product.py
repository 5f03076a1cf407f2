"""A product whose producer does what the test says, and which remembers what it was asked to do."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from turnwire import ChatStreamEvent, ChatTurnHooks, Turn

HOLD = object()  # in a producer's script, this means: wait until the test opens the gate


def text(delta: str, part: str | None = None) -> dict[str, Any]:
    """Return a text delta as a producer yields it."""
    named = {"type": "text"} if part is None else {"type": "text", "id": part}
    return {"type": "message.part.updated", "data": {"part": named, "delta": delta}}


class Scripted(ChatTurnHooks):
    """Yields its events one after the other, and raises those that are exceptions. It has no other hook."""

    def __init__(self, *script: Any) -> None:
        self.script = script
        self.turns: list[Turn] = []  # one for each call of `produce`
        self.holding = asyncio.Event()
        self.gate = asyncio.Event()
        self.closed = 0

    async def produce(self, turn: Turn) -> AsyncGenerator[Any]:
        self.turns.append(turn)
        try:
            for event in self.script:
                if event is HOLD:
                    self.holding.set()
                    await self.gate.wait()
                elif isinstance(event, BaseException):
                    raise event
                else:
                    yield event
        finally:
            self.closed += 1


class Product(Scripted):
    """A scripted producer with all other hooks. `fail[name]`: how many times that hook raises before it works."""

    def __init__(self, *script: Any, **fail: int) -> None:
        super().__init__(*script)
        self.fail = fail
        self.calls: list[str] = []
        self.persisted: dict[str, str] = {}
        self.completed: list[str] = []
        self.seen: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.fail.get(name, 0) > 0:
            self.fail[name] -= 1
            raise RuntimeError(f"{name} does not work")

    async def transform_final_text(self, turn: Turn, text: str) -> str:
        self._called("transform_final_text")
        return text.upper()

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        self._called("persist_assistant_message")
        self.persisted[turn.message_id] = final_text

    async def on_turn_complete(self, turn: Turn, final_text: str) -> None:
        self._called("on_turn_complete")
        self.completed.append(final_text)

    async def on_event(self, turn: Turn, event: ChatStreamEvent) -> None:
        self.seen.append(event.type)

    async def trace_flush(self, turn: Turn) -> None:
        self._called("trace_flush")
