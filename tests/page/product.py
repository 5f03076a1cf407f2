"""A product whose answer is what the message says. The page's tests and its screenshots use it.

A message is `name` or `name argument`:

    say TEXT        the answer is the text, in pieces of a few characters
    gate PATH       half of an answer; the other half follows once the file exists
    many N          N deltas, as quickly as possible
    refund          a tool call that waits for an approval, and then its result
    think           reasoning, then an answer
    work            two steps, one of them a model call that costs 0.0042 EUR
    fail            the turn fails with the code `out_of_paper`

Anything else is answered with the number of the attempt and the message.
"""

import os
from collections.abc import AsyncIterator
from typing import Any

from tests.support.waiting import let_pass, wait_until
from turnwire import ChatTurnHooks, ModelCall, Turn, TurnFailure

PIECE = 7
PACE_S = 0.002
GATE_LIMIT_S = 60
STEP_S = 0.05


def text(delta: str) -> dict[str, Any]:
    """Return the event of one piece of the answer."""
    return {"type": "message.part.updated", "data": {"part": {"type": "text"}, "delta": delta}}


async def let_pass_and_say(words: str) -> str:
    """Take a moment for it, as a tool or a model does."""
    await let_pass(STEP_S)
    return words


class PageHooks(ChatTurnHooks):
    """Does what the message says."""

    async def produce(self, turn: Turn) -> AsyncIterator[Any]:
        """Look the message up."""
        name, _, argument = turn.text.partition(" ")
        script = getattr(self, f"_{name}", None)
        if script is None:
            yield text(f"Attempt {turn.attempt} answers “{turn.text}”.")
            return
        async for event in script(turn, argument):
            yield event

    async def _say(self, _: Turn, argument: str) -> AsyncIterator[Any]:
        for at in range(0, len(argument), PIECE):
            yield text(argument[at : at + PIECE])
            await let_pass(PACE_S)

    async def _gate(self, turn: Turn, argument: str) -> AsyncIterator[Any]:
        yield text(f"The first half of attempt {turn.attempt}, ")
        await wait_until(lambda: os.access(argument, os.F_OK), "the gate", GATE_LIMIT_S)
        yield text("and the second half.")

    async def _many(self, _: Turn, argument: str) -> AsyncIterator[Any]:
        for number in range(int(argument)):
            yield text(f"word{number} " if number % 40 else f"\n\n## Part {number}\n\n")
            if number % 10 == 0:
                await let_pass(0)

    async def _refund(self, turn: Turn, _: str) -> AsyncIterator[Any]:
        call = {"id": "call-1", "name": "refund", "arguments": '{"order": 7, "amount": "12.00"}'}
        yield text("I look at the order first. ")
        yield {"type": "tool.call", "data": call}
        yield {"type": "tool.call.deferred", "data": {**call, "kind": "approval", "signal": "approval-1"}}
        said: Any = await turn.signal("approval-1")
        result = "12.00 were paid back" if said.get("ok") else f"refused: {said.get('message')}"
        yield {"type": "tool.result", "data": {"id": "call-1", "result": result}}
        yield text(f"Done: {result}.")

    async def _think(self, _: Turn, __: str) -> AsyncIterator[Any]:
        for delta in ("The user wants ", "a short answer, ", "so I keep it short."):
            yield {"type": "reasoning.delta", "data": {"delta": delta}}
        yield text("Forty-two.")

    async def _work(self, turn: Turn, _: str) -> AsyncIterator[Any]:
        found = await turn.step("search the archive", lambda: let_pass_and_say("3 cases"), kind="tool")

        async def ask() -> str:
            turn.usage.add(ModelCall("large-model", 1200, 85, "stop", cost_nanos=4_200_000, currency="EUR"))
            return await let_pass_and_say(f"I found {found}.")

        yield text(await turn.step("ask the model", ask, kind="model"))

    async def _fail(self, _: Turn, __: str) -> AsyncIterator[Any]:
        yield text("I begin, but ")
        raise TurnFailure("The printer is empty", code="out_of_paper")


hooks = PageHooks()
