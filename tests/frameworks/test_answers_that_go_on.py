"""A model request of a framework goes on where it broke off, if its client asks with a backend of Turnwire."""

import json
from contextlib import aclosing
from typing import Any

import pytest

from tests.frameworks.backed import FRAMEWORKS, sdk
from tests.support.model_server import running_model_server
from tests.worker.backends.asking import QUICK, backend_of, wait_until
from tests.worker.backends.rawserver import HEAD, raw_server, reply, sse, text
from turnwire import ChatTurnHooks
from turnwire.backends import OpenAIBackend
from turnwire.testing import run_turn

MODES = ["prefill", "flags", "llama-stream", "responses"]  # `prefix` refuses tools


@pytest.fixture
async def server():
    async with running_model_server() as server:
        yield server


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return FRAMEWORKS[request.param]


class Twice(ChatTurnHooks):
    """Runs the agent twice in one turn."""

    continues_answers = True

    def __init__(self, module: Any, agent: Any) -> None:
        self.module = module
        self.agent = agent

    async def produce(self, turn):
        async for event in self.module.run_agent(self.agent, turn):
            if event["type"] != "result":
                yield event
        async for event in self.module.run_agent(self.agent, turn):
            yield event


TEXT = " ".join(f"a.{number}" for number in range(20))


@pytest.mark.parametrize("mode", MODES)
async def test_no_word_that_the_log_has_is_asked_again(server, framework, mode):
    module, agent_of = framework
    async with aclosing(backend_of(server, mode)) as backend:
        hooks = Twice(module, agent_of(backend))
        run = await run_turn(hooks, "a 20 1000", crash_after=["append", "append"])
    assert (run.status, run.attempts, run.final_text) == ("completed", 3, TEXT)
    reasons = {event.data["reason"] for event in run.events if event.type == "session.run.resumed"}
    assert reasons == {"lease_expired"}, "nothing is another text than before"
    texts = [event for event in run.events if event.type == "message.part.updated"]
    assert "".join(str(event.data["delta"]) for event in texts) == 2 * TEXT
    if mode in ("llama-stream", "responses"):
        assert server.paid == 40
        return
    for attempt in (1, 2):
        log = sum(int(event.id.partition("-")[0]) <= attempt for event in texts)
        rest = next(bill["tokens_out"] for bill in server.bills if f"/{attempt + 1}/" in bill["key"])
        assert rest <= 20 - log + 1, "the word that was cut back is made again"


async def test_every_call_of_the_model_is_counted_once(server, framework):
    module, agent_of = framework
    async with aclosing(backend_of(server, "llama-stream")) as backend:
        run = await run_turn(Twice(module, agent_of(backend)), "a 20 1000", crash_after="append")
    assert [(row.outcome, row.tokens_in, row.tokens_out) for row in run.rows] == [
        ("crashed", None, None),
        ("completed", 20, 40),
    ]


@pytest.mark.parametrize("mode", MODES)
async def test_a_cancelled_turn_stops_the_model_and_counts_the_call(server, framework, mode):
    module, agent_of = framework
    async with aclosing(backend_of(server, mode)) as backend:
        hooks = module.AgentHooks(agent_of(backend), backend=backend)
        run = await run_turn(hooks, "a 20000 200", cancel_after=5)
        assert [(row.outcome, row.model_calls, row.tokens_out) for row in run.rows] == [("cancelled", 1, None)]
        await wait_until(lambda: server.idle)


async def test_a_turn_that_is_given_up_stops_the_model(server, framework):
    module, agent_of = framework
    async with aclosing(backend_of(server, "llama-stream")) as backend:
        hooks = module.AgentHooks(agent_of(backend), backend=backend)
        assert hooks.continues_answers
        run = await run_turn(hooks, "a 20000 200", crash_after="append", max_attempts=1)
    assert run.status == "failed"
    await wait_until(lambda: server.idle)


async def test_a_refusal_of_the_model_server_has_its_own_code(framework):
    module, agent_of = framework
    async with raw_server() as raw, aclosing(OpenAIBackend(raw.url, None, "m", QUICK)) as backend:
        raw.play(reply(429, b'{"error":{"code":"insufficient_quota"}}'))
        run = await run_turn(module.AgentHooks(agent_of(backend), backend=backend), "hi")
    assert run.error is not None
    assert (run.error.code, len(raw.requests)) == ("quota", 1)


async def test_a_tool_call_reaches_the_framework_and_its_result_the_model(framework):
    module, agent_of = framework
    call = {"index": 0, "id": "", "function": {"name": "look_up", "arguments": "{}"}, "extra_content": {"s": "x"}}
    async with raw_server() as raw, aclosing(OpenAIBackend(raw.url, None, "m", QUICK)) as backend:
        raw.play(
            HEAD + sse({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]})
        )
        raw.play(HEAD + sse(text("It is done.", "stop")))
        run = await run_turn(module.AgentHooks(agent_of(backend), backend=backend), "hi")
    assert (run.final_text, run.error) == ("It is done.", None)
    _, asked, answered = json.loads(raw.requests[1].body)["messages"][-3:]
    assert asked["tool_calls"][0]["function"]["name"] == "look_up"
    assert (answered["role"], answered["content"]) == ("tool", "found")
    assert (module is sdk) or asked["tool_calls"][0]["extra_content"] == {"s": "x"}
