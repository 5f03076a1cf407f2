"""An agent loop of a product's own, with a model call in each stream step, is killed at every write, in each mode."""

from contextlib import aclosing
from functools import partial
from typing import Any

import pytest

from tests.support.model_server import RunningModelServer, running_model_server
from tests.worker.backends.asking import backend_of
from turnwire import ChatTurnHooks
from turnwire.backends import OpenAIBackend
from turnwire.testing import CrashPointNeverReached, TurnRun, run_turn

CALLS, WORDS = ("plan", "answer"), 5
TEXT = "".join(" ".join(f"{name}.{number}" for number in range(WORDS)) for name in CALLS)


@pytest.fixture
async def server():
    async with running_model_server() as server:
        yield server


class Agent(ChatTurnHooks):
    """Asks twice, each time in a stream step, with a tool between."""

    continues_answers = True

    def __init__(self, backend: OpenAIBackend) -> None:
        self.backend = backend

    async def produce(self, turn):
        for name in CALLS:
            messages = [{"role": "user", "content": f"{name} {WORDS} 2000"}]
            begun = turn.partial_events
            async for event in turn.stream(name, partial(self.backend.ask, turn, messages, name=name, begun=begun)):
                yield event
            yield {"type": "tool.result", "data": {"result": await turn.step("tool", self.look_up, kind="tool")}}

    async def look_up(self):
        return "found"


def words_in(events: list[Any]) -> int:
    """How many words the events have. A delta begins with a blank unless it is the first one of a call."""
    return sum("delta" in event.data for event in events)


async def every_kill(server: RunningModelServer, mode: str) -> list[tuple[TurnRun, list[dict[str, Any]]]]:
    """Kill the worker after each write of a turn, and return what became of it, with the bills of the model."""
    kills: list[tuple[TurnRun, list[dict[str, Any]]]] = []
    async with aclosing(backend_of(server, mode)) as backend:
        while True:
            before = len(server.bills)
            try:
                session = f"s{len(kills)}"  # the server knows an answer by its turn
                run = await run_turn(Agent(backend), "go", session=session, crash_after=len(kills) + 1)
            except CrashPointNeverReached:
                return kills
            kills.append((run, server.bills[before:]))


@pytest.mark.parametrize("mode", ["off", "prefill", "flags", "prefix", "llama-stream", "responses"])
async def test_no_word_is_asked_for_that_the_log_has(server, mode):
    kills = await every_kill(server, mode)
    assert len(kills) > 10
    for number, (run, bills) in enumerate(kills, 1):
        where = f"killed after write {number}"
        assert (run.status, run.final_text) == ("completed", TEXT), where
        reasons = [event.data["reason"] for event in run.events if event.type == "session.run.resumed"]
        assert "diverged" not in reasons or mode == "off", where
        log = words_in([event for event in run.events if event.id.startswith("1-")])  # that stands at the end
        again = sum(bill["tokens_out"] for bill in bills if "/2/" in bill["key"])
        if mode == "llama-stream":
            assert sum(bill["tokens_out"] for bill in bills) == len(CALLS) * WORDS, where
        elif mode == "responses":  # the first answer is an orphan if the log did not have its name
            assert all(bill["is_whole"] for bill in bills), where
            assert len(bills) - len(CALLS) <= (log % WORDS == 0), where
        elif mode == "off":  # a call is made anew as a whole, unless its checkpoint is there
            assert again in range(0, len(CALLS) * WORDS - log + WORDS + 1, WORDS), where
        else:
            assert again <= len(CALLS) * WORDS - log + 1, where
