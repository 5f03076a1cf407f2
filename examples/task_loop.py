"""A loop of tasks: the model plans, works off one task a round, may add others, and stops after some rounds at most.

    TURNWIRE_LLM_BASE_URL=http://…/v1 TURNWIRE_HOOKS=examples.task_loop:hooks python3 dev.py

Every call of the model is a step, so a crash in round 5 begins with round 5 again.
"""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from turnwire import ChatTurnHooks, Turn
from turnwire.backends import OpenAIBackend, assistant_message

ROUNDS = 6  # of work; the plan and the answer come on top
PLAN = "List the tasks that answer the user, one a line. Begin each with TODO and a blank. Say nothing else."
WORK = "Do this task, briefly. If you find that something else must be done, too, add a line that begins with TODO."
ANSWER = "Answer the user from these results."
backend = OpenAIBackend.from_env()


class Tasks(ChatTurnHooks):
    """Plans, works and answers."""

    async def produce(self, turn: Turn) -> AsyncGenerator[Any]:
        """An event before each task, and those of the answer."""
        waiting, results = todo(await self._step(turn, "plan", PLAN, turn.text)), list[str]()
        while waiting and len(results) < ROUNDS:
            name, task = f"task-{len(results) + 1}", waiting.pop(0)
            yield {"type": "task", "data": {"task": task, "waiting": len(waiting)}}
            results.append(said := await self._step(turn, name, WORK, task))
            waiting += todo(said)
        left = [f"Not done, because the rounds are used up: {task}" for task in waiting]
        asked = "\n\n".join([turn.text, *results, *left])
        messages = [{"role": "system", "content": ANSWER}, {"role": "user", "content": asked}]
        async for event in turn.stream("answer", partial(backend.ask, turn, messages, name="answer")):
            yield event

    async def _step(self, turn: Turn, name: str, system: str, text: str) -> str:
        async def ask() -> str:
            messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
            return str(assistant_message([event async for event in backend.ask(turn, messages, name=name)])["content"])

        return str(await turn.step(name, ask, kind="llm", input=text))

    async def aclose(self) -> None:
        """Close the connections when the worker stops."""
        await backend.aclose()


def todo(said: str) -> list[str]:
    """Return the tasks that a text lists."""
    return [line[5:].strip() for line in said.splitlines() if line.startswith("TODO ")]


hooks = Tasks()
