"""A product of steps, a stream and a signal. Each piece of work that is really done is a line of the chaos ledger.

Every key of a turn's `metadata` is optional:

    {"signal": key, "timeout": s}      it waits for this signal
    {"differs": true}                  each attempt begins with other words
    {"start_gates": {"2": path}}       attempt 2 begins when the file exists
    {"first_gate": path}               attempt 1 waits for the file once its answer is stored
    {"persist_fails": n}               the first n calls of persist fail
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from chaos.product import ChaosHooks, delta, pass_gate
from turnwire import ModelCall, Turn

DELTAS: Final = 5  # how many deltas a model call yields; each is a token


class SteppingHooks(ChaosHooks):
    """Its answer is `begin 1.0 1.1 … end`, where the 1 is the attempt that asked the model."""

    async def produce(self, turn: Turn) -> AsyncIterator[Any]:
        """Run a step, a stream, perhaps wait for a signal, and run another step."""
        orders = turn.metadata
        self.note(turn, "produce")
        await pass_gate(turn, orders.get("start_gates", {}).get(str(turn.attempt)))
        if orders.get("differs"):
            yield say(f"attempt {turn.attempt} ")
        await turn.step("first", self.does(turn, "first"), input={"message": turn.message})
        yield say("begin ")
        async for event in turn.stream("answer", lambda: self.model(turn)):
            yield event
        if turn.attempt == 1:
            await pass_gate(turn, orders.get("first_gate"))
        if "signal" in orders:
            yield say(f"{await turn.signal(orders['signal'], timeout=orders.get('timeout'))} ")
        await turn.step("last", self.does(turn, "last"))
        yield say("end")

    def does(self, turn: Turn, name: str) -> Callable[[], Awaitable[str]]:
        """Return a piece of work, which notes that it ran."""

        async def work() -> str:
            self.note(turn, name)
            return name

        return work

    async def model(self, turn: Turn) -> AsyncIterator[dict[str, Any]]:
        """Call the model: yield deltas, each of them a token."""
        self.note(turn, "answer")
        turn.usage.add(ModelCall("m", tokens_in=7, tokens_out=DELTAS))
        for number in range(DELTAS):
            yield say(delta(turn, number))

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        """Note the call. It fails as often as the metadata say, counted over all processes."""
        await super().persist_assistant_message(turn, final_text)
        with open(os.environ["CHAOS_LEDGER"], encoding="utf-8") as ledger:  # noqa: ASYNC230 - a small file
            calls = [line for line in ledger if turn.run_id in line and "persist_assistant_message" in line]
        if len(calls) <= turn.metadata.get("persist_fails", 0):
            raise RuntimeError("no database")


def say(text: str) -> dict[str, Any]:
    return {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": text}}


hooks = SteppingHooks()
