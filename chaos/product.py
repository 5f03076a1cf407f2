"""The product that runs while things break. Its answers say which attempt made them, and it writes its calls down.

A turn's `metadata` say what the product does; every key is optional:

    {"events": 10, "pace_ms": 20,       how many deltas, and the time between two of them
     "stream": true, "after_ms": 200,   the deltas are a stream step; the time between this step and the producer's end
     "gate": {"4": "/path"},            before delta 4, wait until this file exists; `{attempt}` in it is replaced
     "die": true or 2,                  the processes of all attempts, or of the first two, end after the first delta
     "die_by": "SIGKILL" or "abort",    how they end; SIGKILL if it is left out
     "block_s": 3,                      after its first delta the producer blocks the event loop for this time
     "careless": "nested step",         after its first delta the producer does this; see careless.py
     "leak": true,                      the producer raises CancelledError by itself
     "signal": "approval",              after its deltas the producer waits for this signal, and yields its payload
     "hang": {"on_event": 1},           this number of calls of the hook never return, counted over all processes
     "persist_gate": "/path",           persist waits until this file exists
     "persist_dies": true}              persist kills its process

Delta k of attempt a is the text `a.k `, so that a text that mixes two attempts is noticed. If CHAOS_NAME has the name
of a deployment, the text is `<name>a.k `, so that a text of another deployment is noticed, too. Each call is one line
of JSON that is appended to CHAOS_LEDGER before the call does anything. The line is there even if the process is killed
at the next instruction.

There are three products, which do the same: one with coroutines; `plain`, whose hooks are plain functions and so run
in threads; and `listening`, which also has the hook `on_event`.
"""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

from chaos.careless import CARELESS
from turnwire import ChatStreamEvent, ChatTurnHooks, Turn

DEFAULT_EVENTS = 10
GATE_LOOK_S = 0.01


class ChaosHooks(ChatTurnHooks):
    """Does what the metadata say, and notes each call."""

    def __init__(self) -> None:
        path = os.environ["CHAOS_LEDGER"]
        self._ledger = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._hung = path + ".hung"

    async def produce(self, turn: Turn) -> AsyncIterator[Any]:
        """Call the model, as a step of its own or not, and then do what else the metadata say."""
        self.note(turn, "produce")
        ask = partial(self.deltas, turn)
        source: AsyncGenerator[Any] = turn.stream("answer", ask) if turn.metadata.get("stream") else ask()
        async with aclosing(source) as events:
            async for event in events:
                yield event
                if how := turn.metadata.get("careless"):
                    async for bad in CARELESS[how].events(turn):
                        yield bad
        await asyncio.sleep(turn.metadata.get("after_ms", 0) / 1000)
        if key := turn.metadata.get("signal"):
            yield text_event(str(await turn.signal(key)))

    async def deltas(self, turn: Turn) -> AsyncGenerator[dict[str, Any]]:
        """Call the model: yield `events` deltas at a pace."""
        if turn.metadata.get("stream"):
            self.note(turn, "answer")
        ended = False
        try:
            for number in range(turn.metadata.get("events", DEFAULT_EVENTS)):
                await pass_gate(turn, turn.metadata.get("gate", {}).get(str(number)))
                await asyncio.sleep(turn.metadata.get("pace_ms", 0) / 1000)
                yield text_event(delta(turn, number))
                if number == 0:
                    await self.die_if_told(turn)
                    time.sleep(turn.metadata.get("block_s", 0))  # noqa: ASYNC251 - what careless products do
                if turn.metadata.get("leak"):
                    raise asyncio.CancelledError
            ended = True
        finally:
            self.note(turn, "produced" if ended else "cut")

    async def transform_final_text(self, turn: Turn, text: str) -> str:
        """Note the call, and keep the text as it is."""
        self.note(turn, "transform_final_text")
        return text

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        """Notes under which id."""
        self.note(turn, "persist_assistant_message", message_id=turn.message_id, text=final_text)
        if turn.metadata.get("persist_dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        await pass_gate(turn, turn.metadata.get("persist_gate"))
        if self.hangs(turn, "persist_assistant_message"):
            await asyncio.Event().wait()
        self.note(turn, "persisted", message_id=turn.message_id)

    async def on_turn_complete(self, turn: Turn, final_text: str) -> None:
        """Notes it."""
        self.note(turn, "on_turn_complete", text=final_text)
        if self.hangs(turn, "on_turn_complete"):
            await asyncio.Event().wait()

    async def die_if_told(self, turn: Turn) -> None:
        """End this process, if the metadata say so for this attempt."""
        die = turn.metadata.get("die")
        if die is True or (die and turn.attempt <= die):
            await asyncio.sleep(0.05)  # first let the delta reach Redis
            self.note(turn, "die")
            if turn.metadata.get("die_by") == "abort":
                os.abort()
            os.kill(os.getpid(), signal.SIGKILL)

    def hangs(self, turn: Turn, hook: str) -> bool:
        """Return whether this call of the hook must hang. Counts the calls over all processes of the deployment."""
        calls = turn.metadata.get("hang", {}).get(hook, 0)
        if not calls:
            return False
        with Path(f"{self._hung}-{turn.message_id}-{hook}").open("ab") as marks:
            marks.write(b".")
            return marks.tell() <= int(calls)

    def note(self, turn: Turn, call: str, **details: Any) -> None:
        """Append a line to the ledger, in one write, so that lines of several processes do not mix."""
        line = {"run_id": turn.run_id, "attempt": turn.attempt, "pid": os.getpid(), "call": call, **details}
        os.write(self._ledger, json.dumps(line).encode() + b"\n")


class PlainHooks(ChaosHooks):
    """The same with plain functions. A hook that hangs holds up a thread."""

    def persist_assistant_message(self, turn: Turn, final_text: str) -> Any:
        """Notes under which id."""
        self.note(turn, "persist_assistant_message", message_id=turn.message_id, text=final_text)
        if self.hangs(turn, "persist_assistant_message"):
            threading.Event().wait()
        self.note(turn, "persisted", message_id=turn.message_id)

    def on_turn_complete(self, turn: Turn, final_text: str) -> Any:
        """Notes it."""
        self.note(turn, "on_turn_complete", text=final_text)
        if self.hangs(turn, "on_turn_complete"):
            threading.Event().wait()

    def on_event(self, turn: Turn, event: ChatStreamEvent) -> Any:  # noqa: ARG002
        """Hangs, if it shall."""
        if self.hangs(turn, "on_event"):
            threading.Event().wait()


class ListeningHooks(ChaosHooks):
    """The same with the hook `on_event`."""

    async def on_event(self, turn: Turn, event: ChatStreamEvent) -> None:  # noqa: ARG002
        """Hangs, if it shall."""
        if self.hangs(turn, "on_event"):
            await asyncio.Event().wait()


def text_event(text: str) -> dict[str, Any]:
    """Return the event of one delta of the answer."""
    return {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": text}}


def delta(turn: Turn, number: int) -> str:
    """Return the text of delta `number` of this attempt."""
    return f"{os.environ.get('CHAOS_NAME', '')}{turn.attempt}.{number} "


async def pass_gate(turn: Turn, path: str | None) -> None:
    """Wait until the file exists."""
    if path is None:
        return
    path = path.replace("{attempt}", str(turn.attempt))
    while not os.access(path, os.F_OK):  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(GATE_LOOK_S)


hooks = ChaosHooks()
plain = PlainHooks()
listening = ListeningHooks()
