"""The backend against a real llama.cpp server with a tiny random model."""

import asyncio
import time
from functools import partial
from typing import Any

import httpx
import pytest

from stack.llama import llama_server
from stack.venvs import SetupError
from tests.frameworks.backed import FRAMEWORKS
from tests.worker.backends.asking import QUESTION, collect, wait_until
from turnwire import ChatTurnHooks
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import ModelCall
from turnwire.testing import run_turn
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.generation import Origin
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.backends.quirks import Quirks
from turnwire.worker.backends.retry import RetryPolicy

pytestmark = pytest.mark.realserver

SHORT = {"temperature": 0, "max_tokens": 24}
PATIENT = RetryPolicy(initial_backoff_ms=10, max_backoff_ms=20)  # the server computes beside the other tests


@pytest.fixture(scope="module")
def brief(tmp_path_factory):
    yield from root_of(tmp_path_factory.mktemp("brief"), 24)


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    yield from root_of(tmp_path_factory.mktemp("endless"), -1)


def root_of(home, max_tokens):
    try:
        with llama_server(home, max_tokens) as root:
            yield root
    except SetupError as error:
        pytest.skip(f"llama.cpp cannot be installed here: {error}")


async def busy_slots(client):
    return sum(slot["is_processing"] for slot in (await client.get("/slots")).json())


async def test_c26_c94_a_real_stream_with_its_usage(brief, ask):
    asking = await ask(f"{brief}/v1", PATIENT).run()
    assert len(asking.events) > 10
    (call,) = asking.calls
    assert (call.tokens_out, call.finish_reason) == (24, "length")
    assert call.tokens_in is not None
    assert call.tokens_in > 10


async def test_c28_a_real_refusal(brief, ask):
    with pytest.raises(BackendTransportError) as caught:
        await ask(f"{brief}/v2", PATIENT).run()
    assert (caught.value.status, caught.value.retryable) == (404, False)


async def test_more_calls_than_slots_all_end(brief, ask):
    askings = await asyncio.gather(*(ask(f"{brief}/v1", PATIENT).run() for _ in range(12)))
    assert {call.tokens_out for asking in askings for call in asking.calls} == {24}


@pytest.mark.parametrize("mode", ["prefill", "flags"])
async def test_a_real_answer_goes_on_where_it_broke_off(endless, mode):
    backend = OpenAIBackend(f"{endless}/v1", None, "tiny", PATIENT, quirks=Quirks(continues=mode))
    options = {"temperature": 0, "max_tokens": 60}
    calls: list[ModelCall] = []

    async def ask(begun=()):
        return [
            event
            async for event in backend.stream(
                QUESTION, options=options, idempotency_key="k", on_call=calls.append, begun=begun
            )
        ]

    whole = await ask()
    begun = [ChatStreamEvent(**event) for event in whole[:30]]
    rest = await ask(begun)
    assert rest[:30] == whole[:30]
    assert backend._learned.cannot_continue == set(), "it did not start over"
    assert calls[0].tokens_out == 60
    first, second = ((call.tokens_in or 0, call.tokens_out or 0) for call in calls)
    assert second[0] > first[0] > 0
    assert 0 < second[1] < first[1]
    await backend.aclose()


async def test_a_real_answer_is_read_again_and_is_the_same(endless):
    async with httpx.AsyncClient(base_url=endless, trust_env=False) as client:
        backend = OpenAIBackend(f"{endless}/v1", None, "tiny", PATIENT, quirks=Quirks(continues="llama-stream"))
        calls: list[ModelCall] = []
        events: list[dict[str, Any]] = []
        options = {"temperature": 0, "max_tokens": 600}

        async def ask(origin):
            answer = backend.stream(QUESTION, options=options, idempotency_key="k", on_call=calls.append, origin=origin)
            await collect(answer, events)

        first = asyncio.create_task(ask(Origin("one", moves=lambda: True)))
        await wait_until(lambda: len(events) > 20)
        first.cancel()
        await asyncio.wait({first})
        assert await busy_slots(client) == 1, "the model goes on without a reader"
        begun, events[:] = list(events), []
        await ask(Origin("one", resumes=True))
        assert events[: len(begun)] == begun
        assert [call.tokens_out for call in calls] == [600]

        stopped = asyncio.create_task(ask(Origin("two")))
        await wait_until(lambda: len(events) > 620)
        stopped.cancel()
        await asyncio.wait({stopped})
        async with asyncio.timeout(20):
            while await busy_slots(client):
                pass
        await backend.aclose()


def settings_of(turn: Any) -> dict[str, Any]:
    """Let the first attempt have a part of an answer before it dies, and the next one have room for the rest."""
    return {"temperature": 0, "max_tokens": 40 if turn.attempt == 1 else 300}


class Agent(ChatTurnHooks):
    """Asks in a stream step."""

    continues_answers = True

    def __init__(self, backend: OpenAIBackend) -> None:
        self.backend = backend

    async def produce(self, turn):
        ask = partial(self.backend.ask, turn, QUESTION, options=settings_of(turn), begun=turn.partial_events)
        async for event in turn.stream("answer", ask):
            yield event


class PydanticAgent(Agent):
    async def produce(self, turn):
        module, agent_of = FRAMEWORKS["pydantic-ai"]
        agent = agent_of(self.backend, tools=())
        async for event in module.run_agent(agent, turn, model_settings=settings_of(turn)):
            yield event


class SdkAgent(Agent):
    async def produce(self, turn):
        import agents

        module, agent_of = FRAMEWORKS["openai-agents"]
        agent = agent_of(self.backend, tools=())
        settings = agents.ModelSettings(include_usage=True, **settings_of(turn))
        async for event in module.run_agent(agent, turn, run_config=agents.RunConfig(model_settings=settings)):
            yield event


@pytest.mark.parametrize("mode", ["prefill", "flags", "llama-stream"])
@pytest.mark.parametrize("step", ["answer", "talker__model.request_stream", "model:m"])
async def test_an_agent_goes_on_with_a_real_answer(endless, step, mode):
    hooks = {"answer": Agent, "model:m": SdkAgent}.get(step, PydanticAgent)
    backend = OpenAIBackend(f"{endless}/v1", None, "tiny", PATIENT, quirks=Quirks(continues=mode))
    run = await run_turn(hooks(backend), "hi", session=f"{hooks.__name__}-{mode}", crash_before=f"checkpoint.{step}")
    await backend.aclose()
    assert run.status == "completed"
    assert backend._learned.cannot_continue == set(), "it did not start over"
    begun = "".join(
        str(event.data["delta"]) for event in run.events if event.id.startswith("1-") and "delta" in event.data
    )
    assert len(begun) > 40
    (_, first), *_, (_, last) = run.model_calls
    if mode == "llama-stream":
        assert (run.final_text, last.tokens_out) == (begun, 40)
    else:
        assert first.tokens_out == 40
        assert 0 < (last.tokens_out or 0) <= 300 - 30, "the rest alone was made"
        assert (last.tokens_in or 0) > (first.tokens_in or 0) + 30, "the server was told the beginning"


async def test_a_real_response_is_read_and_one_that_is_not_kept_is_asked_anew(brief):
    backend = OpenAIBackend(f"{brief}/v1", None, "tiny", PATIENT, quirks=Quirks(continues="responses"))
    calls: list[ModelCall] = []

    async def ask(begun=()):
        answer = backend.stream(
            QUESTION, options={"temperature": 0}, idempotency_key="k", on_call=calls.append, begun=begun
        )
        return [event async for event in answer]

    whole = await ask()
    assert whole[0]["type"] == "model.response", "it has a name"
    again = await ask([ChatStreamEvent(**event) for event in whole[:10]])
    assert [event["data"] for event in again[1:]] == [event["data"] for event in whole[1:]]
    assert [(call.tokens_out, call.tokens_in is not None) for call in calls] == [(24, True)] * 2
    await backend.aclose()


async def test_a_real_server_that_keeps_answers_is_found(endless):
    backend = OpenAIBackend(f"{endless}/v1", None, "tiny", PATIENT, quirks=Quirks(continues="auto"))
    answer = backend.stream(QUESTION, options=SHORT, idempotency_key="k", on_call=lambda _: None)
    assert [event async for event in answer]
    assert backend._modes.known == {"tiny": "llama-stream"}
    await backend.aclose()


async def test_a_real_server_that_refuses_a_long_history_gets_a_shorter_one(endless):
    backend = OpenAIBackend(f"{endless}/v1", None, "tiny", PATIENT)
    earlier = [{"role": role, "content": f"{role} " * 4000} for _ in range(8) for role in ("user", "assistant")]
    answer = backend.stream([*earlier, *QUESTION], options=SHORT, idempotency_key="k", on_call=lambda _: None)
    events = [event async for event in answer]
    assert events[0]["type"] == "history.trimmed"
    assert 0 < events[0]["data"]["droppedTurns"] < 9
    assert len(events) > 1
    await backend.aclose()


async def test_c33_cancelling_inside_the_answer_stops_the_model(endless, ask):
    async with httpx.AsyncClient(base_url=endless, trust_env=False) as client:
        asking = ask(f"{endless}/v1", PATIENT)
        task = asyncio.create_task(asking.run())
        await wait_until(lambda: len(asking.events) > 20)
        assert await busy_slots(client) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        start_s = time.monotonic()
        async with asyncio.timeout(20):
            while await busy_slots(client):
                pass
        print(f"idle {1000 * (time.monotonic() - start_s):.1f} ms after the cancellation")
    (call,) = asking.calls
    assert call.tokens_out is None
