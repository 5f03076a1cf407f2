"""The two sets of hooks that come with Turnwire."""

from types import SimpleNamespace

import msgspec
import pytest

from tests.worker.backends.rawserver import HEAD, sse, text
from turnwire.shared.errors import SettingsError
from turnwire.shared.model import ModelCall
from turnwire.shared.settings import Settings
from turnwire.worker.backends.demo import DemoHooks
from turnwire.worker.backends.errors import UnknownModelError
from turnwire.worker.backends.openai_hooks import OpenAIHooks

EARLIER = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}]


def a_turn(message="hello  there\n", earlier=(), model=None, options=None):
    calls: list[ModelCall] = []
    return SimpleNamespace(
        moves=lambda: False,
        findings=None,
        run_id="chat:s:1",
        created_at=1_700_000_000_000,
        attempt=3,
        message=message,
        text=message,
        options=options or {},
        model=model,
        usage=SimpleNamespace(calls=calls, add=calls.append),
        partial_events=(),
        history=lambda: list(earlier),
    )


async def said(hooks, turn):
    return [event["data"]["delta"] async for event in hooks.produce(turn)]


async def test_openai_hooks_send_history_message_model_and_key(raw):
    raw.play(HEAD + sse(text("hi", "stop"), "[DONE]"))
    settings = Settings(llm_base_url=raw.url, llm_api_key="sk-1", llm_model="tiny", llm_models="large")
    hooks = OpenAIHooks.from_settings(settings)
    turn = a_turn("two", EARLIER)
    assert await said(hooks, turn) == ["hi"]
    assert await said(hooks, a_turn("two", model="large")) == ["hi"]
    await hooks.aclose()
    first, second = (msgspec.json.decode(request.body) for request in raw.requests)
    assert first["messages"] == [*EARLIER, {"role": "user", "content": "two"}]
    assert (first["model"], second["model"]) == ("tiny", "large")
    assert raw.requests[0].headers["idempotency-key"] == "chat:s:1/1700000000000/3"
    assert turn.usage.calls == [ModelCall("tiny", finish_reason="stop")]


async def test_openai_hooks_send_the_parts_and_the_options_of_the_client(raw):
    raw.play(HEAD + sse(text("hi", "stop"), "[DONE]"))
    hooks = OpenAIHooks.from_settings(Settings(llm_base_url=raw.url))
    sent = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "https://a/b.png"}}]
    tools = [{"type": "function", "function": {"name": "look"}}]
    options = {"temperature": 0.5, "max_tokens": 9, "tools": tools, "tool_choice": "none"}
    assert await said(hooks, a_turn(sent, options=options)) == ["hi"]
    await hooks.aclose()
    asked = msgspec.json.decode(raw.requests[0].body)
    assert asked["messages"] == [{"role": "user", "content": sent}]
    assert {name: asked[name] for name in options} == options


async def test_a_model_that_is_not_offered_never_reaches_the_server(raw):
    hooks = OpenAIHooks.from_settings(Settings(llm_base_url=raw.url, llm_model="tiny", llm_models="large, larger"))
    with pytest.raises(UnknownModelError) as refused:
        await said(hooks, a_turn(model="largest"))
    assert (refused.value.code, refused.value.retryable) == ("unknown_model", False)
    assert raw.requests == []


def test_openai_hooks_take_the_policy_from_the_settings():
    with pytest.raises(SettingsError, match="LLM_BASE_URL"):
        OpenAIHooks.from_settings(Settings())
    with pytest.raises(SettingsError, match="max_backoff_ms"):
        OpenAIHooks.from_settings(Settings(llm_base_url="http://h/v1", llm_max_backoff_ms=1))


async def test_the_demo_answers_the_same_words_each_time():
    turn = a_turn(earlier=EARLIER)
    first, second = await said(DemoHooks(0), turn), await said(DemoHooks(0), a_turn(earlier=EARLIER))
    assert first == second
    assert 25 <= len(first) <= 45
    assert "“hello there”" in "".join(first)
    assert "1 earlier turn of" in "".join(first)
    assert turn.usage.calls == [ModelCall("demo", finish_reason="stop")]


async def test_the_demo_quotes_a_long_message_in_part():
    words = "".join(await said(DemoHooks(0), a_turn("x" * 5000)))
    assert len(words) < 400


def test_the_demo_refuses_a_negative_delay():
    with pytest.raises(SettingsError, match="delay_ms"):
        DemoHooks(-1)
