"""A conversation with tools: what is asked, what the model calls, and how its results go back."""

from types import SimpleNamespace

import pytest

from tests.worker.backends.rawserver import HEAD, sse, text
from turnwire.shared.errors import SettingsError
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import ModelCall
from turnwire.shared.settings import Settings
from turnwire.worker.backends.answer import text_delta
from turnwire.worker.backends.messages import assistant_message, tool_message
from turnwire.worker.backends.openai import OpenAIBackend

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALL = {"id": "call-1", "name": "weather", "arguments": '{"city":"Bern"}'}
AS_MESSAGE = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}


def a_turn(model=None):
    calls: list[ModelCall] = []
    return SimpleNamespace(
        moves=lambda: False,
        findings=None,
        run_id="chat:s:1",
        created_at=1_700_000_000_000,
        attempt=3,
        model=model,
        usage=SimpleNamespace(calls=calls, add=calls.append),
    )


@pytest.fixture
async def backend(llmock_server):
    made = OpenAIBackend.from_settings(Settings(llm_base_url=llmock_server.url, llm_model="tiny"))
    yield made
    await made.aclose()


async def test_the_model_calls_a_tool_and_answers_with_its_result(backend, llmock_server):
    called = {"name": "weather", "arguments": {"city": "Bern"}}
    llmock_server.script({"type": "reply", "tool_calls": [called]}, {"type": "reply", "text": "It rains."})
    turn, messages = a_turn(), [{"role": "user", "content": "Do I need an umbrella in Bern?"}]
    first = [event async for event in backend.ask(turn, messages, name="plan", tools=TOOLS)]
    said = assistant_message(first)
    [call] = said["tool_calls"]
    assert (said["content"], call["function"]["name"]) == (None, "weather")
    fragments = [event["data"]["arguments"] for event in first if event["type"] == "tool.call.delta"]
    assert len(fragments) > 1, "it was not streamed"
    assert "".join(fragments) == call["function"]["arguments"]
    messages += [said, tool_message(call, {"sky": "rain"})]
    second = [event async for event in backend.ask(turn, messages, name="answer", tools=TOOLS)]
    assert assistant_message(second) == {"role": "assistant", "content": "It rains."}
    asked, again = llmock_server.requests()
    assert asked["body"]["tools"] == TOOLS
    assert again["body"]["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": '{"sky":"rain"}'},
    ]
    assert [made.finish_reason for made in turn.usage.calls] == ["tool_calls", "stop"]
    llmock_server.assert_clean()


async def test_each_call_of_a_turn_has_a_key_of_its_own(raw, ask):
    raw.play(HEAD + sse(text("hi", "stop"), "[DONE]"))
    backend, turn = ask(raw.url).backend, a_turn("tiny")
    for name in (None, "plan", "answer"):
        assert [event async for event in backend.ask(turn, [], name=name)] == [text_delta("hi")]
    keys = [request.headers["idempotency-key"] for request in raw.requests]
    assert keys == [f"chat:s:1/1700000000000/3{name}" for name in ("", "/plan", "/answer")]
    assert turn.usage.calls == [ModelCall("tiny", finish_reason="stop")] * 3


async def test_options_are_sent_but_replace_nothing_and_no_tools_are_not_an_empty_list(backend, llmock_server):
    options = {"temperature": 0, "stream": False, "messages": []}
    assert [event async for event in backend.ask(a_turn(), [{"role": "user", "content": "hi"}], options=options)]
    assert llmock_server.requests()[0]["body"] == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
    }


def test_a_message_has_the_text_and_the_calls_but_no_reasoning():
    reasoning = {"type": "reasoning.delta", "data": {"delta": "hm"}}
    fragment = {"type": "tool.call.delta", "data": {"index": 0, **CALL}}
    called = {"type": "tool.call", "data": CALL}
    assert assistant_message([reasoning, text_delta("Let me "), text_delta("look."), fragment, called]) == {
        "role": "assistant",
        "content": "Let me look.",
        "tool_calls": [AS_MESSAGE],
    }
    only_called = assistant_message([ChatStreamEvent("tool.call", CALL)])
    assert only_called == {"role": "assistant", "content": None, "tool_calls": [AS_MESSAGE]}
    assert assistant_message([]) == {"role": "assistant", "content": ""}


@pytest.mark.parametrize("call", [CALL, AS_MESSAGE])
def test_a_result_is_text_or_json(call):
    assert tool_message(call, "rain") == {"role": "tool", "tool_call_id": "call-1", "content": "rain"}
    assert tool_message(call, ["é", None])["content"] == '["é",null]'


def test_without_a_server_there_is_no_backend():
    with pytest.raises(SettingsError, match="LLM_BASE_URL"):
        OpenAIBackend.from_settings(Settings())
