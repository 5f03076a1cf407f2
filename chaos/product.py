"""The product that is run while things break: its answers say which attempt made them, its calls are written down.

A turn's `metadata` says how it goes; every key is optional:

    {"events": 10, "pace_ms": 20,       how many deltas, and the time between two of them
     "stream": true, "after_ms": 200,   they are a stream step; and the time after it, before the producer ends
     "gate": {"4": "/path"},            before delta 4, wait until this file exists; `{attempt}` in it is replaced
     "die": true,                       the process of every attempt kills itself after its first delta
     "block_s": 3,                      after its first delta it blocks the event loop for so long
     "raise": "surrogate" or "exit",    after its first delta it raises what a careless product raises
     "leak": true,                      the producer raises CancelledError by itself
     "persist_gate": "/path"}           persist waits until this file exists

Delta k of attempt a reads `a.k `, so a text that mixes two attempts shows. Each call is one line of JSON appended to
CHAOS_LEDGER: written before the call does anything, and there even if the process is killed at the next instruction.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

from turnwire import ChatTurnHooks, Turn

DEFAULT_EVENTS = 10
GATE_LOOK_S = 0.01


class ChaosHooks(ChatTurnHooks):
    """Does what the metadata says, and notes it."""

    def __init__(self) -> None:
        self._ledger = os.open(os.environ["CHAOS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def produce(self, turn: Turn) -> AsyncIterator[Any]:
        """The model call, as a step of its own or not, and then what else a product does."""
        self.note(turn, "produce")
        ask = partial(self.deltas, turn)
        source: AsyncGenerator[Any] = turn.stream("answer", ask) if turn.metadata.get("stream") else ask()
        async with aclosing(source) as events:
            async for event in events:
                yield event
        await asyncio.sleep(turn.metadata.get("after_ms", 0) / 1000)

    async def deltas(self, turn: Turn) -> AsyncGenerator[dict[str, Any]]:
        """The model call: `events` deltas at a pace."""
        if turn.metadata.get("stream"):
            self.note(turn, "answer")
        ended = False
        try:
            for number in range(turn.metadata.get("events", DEFAULT_EVENTS)):
                await pass_gate(turn, turn.metadata.get("gate", {}).get(str(number)))
                await asyncio.sleep(turn.metadata.get("pace_ms", 0) / 1000)
                yield {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": delta(turn, number)}}
                if turn.metadata.get("die"):
                    await asyncio.sleep(0.05)  # the delta shall have left
                    os.kill(os.getpid(), signal.SIGKILL)
                if number == 0:
                    time.sleep(turn.metadata.get("block_s", 0))  # noqa: ASYNC251 - what careless products do
                if how := turn.metadata.get("raise"):
                    raise ValueError("half \ud83d") if how == "surrogate" else SystemExit(2)
                if turn.metadata.get("leak"):
                    raise asyncio.CancelledError
            ended = True
        finally:
            self.note(turn, "produced" if ended else "cut")

    async def transform_final_text(self, turn: Turn, text: str) -> str:
        """Keeps the text."""
        self.note(turn, "transform_final_text")
        return text

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        """Notes under which id."""
        self.note(turn, "persist_assistant_message", message_id=turn.message_id, text=final_text)
        await pass_gate(turn, turn.metadata.get("persist_gate"))

    async def on_turn_complete(self, turn: Turn, final_text: str) -> None:
        """Notes it."""
        self.note(turn, "on_turn_complete", text=final_text)

    def note(self, turn: Turn, call: str, **details: Any) -> None:
        """One write: lines of several processes do not mix."""
        line = {"run_id": turn.run_id, "attempt": turn.attempt, "pid": os.getpid(), "call": call, **details}
        os.write(self._ledger, json.dumps(line).encode() + b"\n")


def delta(turn: Turn, number: int) -> str:
    """What delta `number` of this attempt reads."""
    return f"{turn.attempt}.{number} "


async def pass_gate(turn: Turn, path: str | None) -> None:
    """Wait until the file exists."""
    if path is None:
        return
    path = path.replace("{attempt}", str(turn.attempt))
    while not os.access(path, os.F_OK):  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(GATE_LOOK_S)


hooks = ChaosHooks()
