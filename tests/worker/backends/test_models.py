"""The models of a file are asked as their tables say: address, key, prompt, fields, and the next one if one is down."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.support.clock import Clock
from tests.support.read_again import read_again
from tests.support.waiting import wait_until
from tests.worker.backends.rawserver import HEAD, RESET, RawServer, raw_server, reply, sse, text
from turnwire.shared.errors import SettingsError
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import ModelCall
from turnwire.shared.settings import Settings
from turnwire.shared.watched_file import LOOK_S
from turnwire.worker.backends.answer import text_delta
from turnwire.worker.backends.errors import BackendTransportError, BackendTruncatedError, UnknownModelError
from turnwire.worker.backends.models import Models, ModelsHooks

ANSWER = HEAD + sse(text("hi", "stop"), "[DONE]")
QUOTA = reply(429, b'{"error":{"code":"insufficient_quota"}}')
ENVIRON = {"SMALL_KEY": "sk-small", "ACME_KEY": "sk-acme", "LARGE_KEY": "sk-large"}
ModelsMaker = Callable[..., Models]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models.toml"


@pytest.fixture
async def make(path: Path) -> AsyncIterator[ModelsMaker]:
    """Makes the models of a text; they are closed at the end."""
    async with AsyncExitStack() as stack:

        def made(content: str, environ: dict[str, str] = ENVIRON, **options: Any) -> Models:
            path.write_text(content, encoding="utf-8")
            settings = Settings(models_file=str(path), llm_initial_backoff_ms=1, llm_max_backoff_ms=5)
            models = Models(settings, environ, **options)
            stack.push_async_callback(models.aclose)
            return models

        yield made


@pytest.fixture
async def other() -> AsyncIterator[RawServer]:
    """A second model server."""
    async with raw_server() as server:
        yield server


def a_turn(model: str | None = None, tenant: str = "default", earlier: tuple[dict[str, str], ...] = ()) -> Any:
    calls: list[ModelCall] = []
    return SimpleNamespace(
        moves=lambda: False,
        findings=None,
        run_id="chat:s:1", created_at=7, attempt=3, tenant_id=tenant, message="two", model=model, options={},
        usage=SimpleNamespace(calls=calls, add=calls.append), history=lambda: list(earlier), partial_events=(),
    )  # fmt: skip


async def events_of(models: Models, turn: Any) -> list[dict[str, Any]]:
    return [event async for event in ModelsHooks(models).produce(turn)]


async def said(models: Models, turn: Any) -> str:
    return "".join(event["data"].get("delta", "") for event in await events_of(models, turn))


def body(server: RawServer, number: int = -1) -> dict[str, Any]:
    return msgspec.json.decode(server.requests[number].body, type=dict[str, Any])


async def test_a_model_is_asked_as_its_table_says(raw, make):
    raw.play(HEAD + sse(text("<think>shoes?</think>hi", "stop"), "[DONE]"))
    models = make(
        f"""
        [models.small]
        url = "{raw.url}"
        name = "provider/small"
        key_env = "SMALL_KEY"
        system = "You sell shoes."
        parameters = {{ temperature = 0.5, max_tokens = 7 }}
        body = {{ provider = {{ sort = "price" }} }}
        stream_options = false
        think = "hide"
        headers = {{ X-Title = "Shop" }}
        """
    )
    turn = a_turn("small", earlier=({"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}))
    assert await said(models, turn) == "hi"
    sent = body(raw)
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "user"]
    assert sent["messages"][0]["content"] == "You sell shoes."
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("provider/small", 0.5, 7)
    assert sent["provider"] == {"sort": "price"}
    assert "stream_options" not in sent
    headers = raw.requests[0].headers
    assert (headers["authorization"], headers["x-title"]) == ("Bearer sk-small", "Shop")
    assert headers["idempotency-key"] == "chat:s:1/7/3"
    assert [call.model for call in turn.usage.calls] == ["small"], "the ledger knows it by its name in the file"


async def test_a_tenant_with_a_key_of_its_own_pays_for_its_calls(raw, make):
    raw.play(ANSWER)
    models = make(
        f'[models.small]\nurl = "{raw.url}"\nkey_env = "SMALL_KEY"\nkey_header = "api-key"\n'
        '[models.small.tenant_keys.acme]\nkey_env = "ACME_KEY"\n'
    )
    await said(models, a_turn(tenant="acme"))
    await said(models, a_turn(tenant="other"))
    assert [request.headers["api-key"] for request in raw.requests] == ["sk-acme", "sk-small"]
    assert not any("authorization" in request.headers for request in raw.requests)


async def test_options_of_a_call_replace_parameters_but_not_the_body(raw, make):
    raw.play(ANSWER)
    models = make(f'[models.small]\nurl = "{raw.url}"\nparameters = {{ seed = 1, n = 1 }}\nbody = {{ user = "us" }}\n')
    options = {"seed": 2, "user": "them"}
    messages = [{"role": "system", "content": "mine"}, {"role": "user", "content": "one"}]
    assert [event async for event in models.ask(a_turn(), messages, name="draft", options=options)]
    assert (body(raw)["seed"], body(raw)["n"], body(raw)["user"]) == (2, 1, "us")
    assert raw.requests[0].headers["idempotency-key"] == "chat:s:1/7/3/draft"


async def test_a_system_prompt_of_the_hooks_stays_the_only_one(raw, make):
    raw.play(ANSWER)
    models = make(f'[models.small]\nurl = "{raw.url}"\nsystem = "theirs"\n')
    messages = [{"role": "system", "content": "mine"}, {"role": "user", "content": "one"}]
    assert [event async for event in models.ask(a_turn(), messages)]
    assert body(raw)["messages"] == messages


@pytest.mark.parametrize(("model", "tenant"), [("no such", "default"), ("large", "default"), (None, "acme")])
async def test_a_model_that_is_not_in_the_file_or_not_for_the_tenant_fails_the_turn_unasked(raw, make, model, tenant):
    models = make(
        f'[models.small]\nurl = "{raw.url}"\ntenants = ["default"]\n'
        f'[models.large]\nurl = "{raw.url}"\ntenants = ["acme"]\n'
    )
    with pytest.raises(UnknownModelError) as failed:
        await said(models, a_turn(model, tenant))
    assert (failed.value.code, failed.value.retryable) == ("unknown_model", True)
    assert raw.requests == []


async def test_hooks_may_choose_a_model_themselves_but_only_a_listed_one(raw, make):
    raw.play(ANSWER)
    models = make(f'[models.small]\nurl = "{raw.url}"\n[models.large]\nurl = "{raw.url}"\ntenants = []\n')
    messages = [{"role": "user", "content": "one"}]
    assert [event async for event in models.ask(a_turn(), messages, model="large")]
    assert body(raw)["model"] == "large"
    with pytest.raises(UnknownModelError):
        assert [event async for event in models.ask(a_turn(), messages, model="huge")]


def with_fallback(raw: RawServer, other: RawServer, more: str = "") -> str:
    small = f'url = "{raw.url}"\nkey_env = "SMALL_KEY"\nsystem = "of small"\nfallbacks = ["large"]\n{more}\n'
    large = f'url = "{other.url}"\nkey_env = "LARGE_KEY"\nsystem = "of large"\nparameters = {{ top_p = 1 }}\n'
    return f"[models.small]\n{small}\n[models.large]\n{large}\n"


@pytest.mark.parametrize("failure", [RESET, reply(503), reply(429), QUOTA, HEAD + sse('{"error":{"code":503}}')])
async def test_the_next_model_is_asked_if_one_is_down_before_its_answer_began(raw, other, make, caplog, failure):
    raw.play(failure)
    other.play(ANSWER)
    turn = a_turn()
    events = await events_of(make(with_fallback(raw, other)), turn)
    assert [event["type"] for event in events] == ["model.fallback", "message.part.updated"]
    assert (events[0]["data"]["model"], events[0]["data"]["insteadOf"]) == ("large", "small")
    assert other.requests[0].headers["authorization"] == "Bearer sk-large"
    assert other.requests[0].headers["idempotency-key"] == "chat:s:1/7/3/fallback-1"
    sent = body(other)
    assert (sent["model"], sent["top_p"], sent["messages"][0]["content"]) == ("large", 1, "of small")
    assert turn.usage.calls[-1].model == "large"
    assert len(raw.requests) <= 2, "it is not asked as patiently as one without fallbacks"
    assert "the model 'small' failed, 'large' is asked" in caplog.text


async def test_no_other_model_is_asked_after_the_answer_has_begun(raw, other, make):
    raw.play(HEAD + sse(text("half an")), RESET)
    with pytest.raises(BackendTruncatedError):
        await events_of(make(with_fallback(raw, other)), a_turn())
    assert other.requests == []


async def test_no_other_model_is_asked_for_a_request_that_is_wrong(raw, other, make):
    raw.play(reply(400))
    with pytest.raises(BackendTransportError):
        await events_of(make(with_fallback(raw, other)), a_turn())
    assert other.requests == []


async def test_the_failure_of_the_last_model_is_the_turns(raw, other, make):
    raw.play(reply(503))
    other.play(reply(500))
    models = make(with_fallback(raw, other, "max_attempts = 1") + "max_attempts = 1\n")
    with pytest.raises(BackendTransportError) as failed:
        await events_of(models, a_turn())
    assert (failed.value.status, len(raw.requests), len(other.requests)) == (500, 1, 1)


async def test_a_fallback_that_the_tenant_may_not_ask_is_left_out(raw, other, make):
    raw.play(reply(503))
    with pytest.raises(BackendTransportError):
        await events_of(make(with_fallback(raw, other) + 'tenants = ["acme"]\n'), a_turn(tenant="other"))
    assert other.requests == []


async def test_the_oldest_turns_are_left_out_if_they_do_not_fit_and_an_event_says_so(raw, make):
    raw.play(ANSWER)
    models = make(f'[models.small]\nurl = "{raw.url}"\ncontext_tokens = 200\nparameters = {{ max_tokens = 100 }}\n')
    earlier = tuple({"role": role, "content": "word " * 18} for _ in range(3) for role in ("user", "assistant"))
    events = await events_of(models, a_turn(earlier=earlier))
    assert events[0] == {"type": "history.trimmed", "data": {"model": "small", "droppedTurns": 2}}
    assert [message["role"] for message in body(raw)["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ('key_env = "MISSING"', "key_env: the environment variable MISSING is not set"),
        ('key_env = "BROKEN"', "key_env: BROKEN: the key has characters"),
        ('key_file = "/no/such/file"', "key_file: the file cannot be read"),
        ('tenant_keys = { acme = { key_env = "MISSING" } }', "tenant_keys.acme: key_env: .*MISSING is not set"),
    ],
)
async def test_a_key_that_cannot_be_had_is_named_at_the_start_and_never_shown(make, table, reason):
    with pytest.raises(SettingsError, match=rf"models.toml: \[models.small\]: {reason}") as refused:
        make(f'[models.small]\nurl = "http://h/v1"\n{table}\n', {"BROKEN": "s3cret\nline"})
    assert "s3cret" not in str(refused.value)


async def test_a_key_in_a_file_is_read_again_when_it_changes(raw, make, tmp_path, monkeypatch):
    raw.play(ANSWER)
    clock, key = Clock(), tmp_path / "key"
    monkeypatch.setattr("turnwire.worker.backends.model_keys.monotonic", clock)
    key.write_text("first\n")
    models = make(f'[models.small]\nurl = "{raw.url}"\nkey_file = "key"\n')
    await said(models, a_turn())
    key.write_text("second one\n")
    clock.now_s += LOOK_S

    async def sent() -> bool:
        await said(models, a_turn())
        return bool(raw.requests[-1].headers["authorization"] == "Bearer second one")

    await wait_until(sent, "the new key")
    assert raw.requests[0].headers["authorization"] == "Bearer first"


async def test_a_new_file_counts_at_once_and_one_that_cannot_be_used_changes_nothing(raw, make, path, caplog):
    caplog.set_level(logging.INFO)
    raw.play(ANSWER)
    clock = Clock()
    models = make(f'[models.small]\nurl = "{raw.url}"\n', clock=clock)
    for content, named in ((f'[models.large]\nurl = "{raw.url}"', "large"), ("broken", "large"),
                           (f'[models.huge]\nurl = "{raw.url}"\nkey_env = "MISSING"', "large")):  # fmt: skip
        path.write_text(content, encoding="utf-8")
        clock.now_s += LOOK_S
        await read_again(models._served)
        await said(models, a_turn())
        assert body(raw)["model"] == named
    assert "MISSING is not set; what was read before stays valid" in caplog.text


async def test_without_the_setting_there_are_no_models():
    with pytest.raises(SettingsError, match="TURNWIRE_MODELS_FILE: not set"):
        Models.from_env({})


async def test_an_answer_goes_on_also_in_a_session_whose_oldest_turns_were_left_out(raw, make):
    raw.play(HEAD + sse(text("six seven", "stop"), "[DONE]"))
    table = 'continue = "prefill"\ncontext_tokens = 100\nparameters = { max_tokens = 50 }\n'
    models = make(f'[models.small]\nurl = "{raw.url}"\n{table}')
    messages = [{"role": "user", "content": "word " * 90}, {"role": "user", "content": "count"}]
    trimmed = {"type": "history.trimmed", "data": {"model": "small", "droppedTurns": 1}}
    said_before = [text_delta(f"{word} ") for word in ("one", "two", "three", "four", "five")]
    begun = [ChatStreamEvent(event["type"], event["data"]) for event in (trimmed, *said_before)]
    events = [event async for event in models.ask(a_turn(), messages, begun=begun)]
    assert events[: len(begun)] == [trimmed, *said_before], "no client has to drop anything"
    assert [message["role"] for message in body(raw)["messages"]] == ["user", "assistant"]


async def test_an_answer_of_a_fallback_is_asked_for_anew(raw, other, make):
    raw.play(ANSWER)
    begun = [
        ChatStreamEvent("model.fallback", {"model": "large", "insteadOf": "small", "code": "overloaded"}),
        ChatStreamEvent(**text_delta("one two three ")),
    ]
    models = make(with_fallback(raw, other, 'continue = "prefill"'))
    messages = [{"role": "user", "content": "count"}]
    assert [event["type"] async for event in models.ask(a_turn(), messages, begun=begun)] == ["message.part.updated"]
    assert [message["role"] for message in body(raw)["messages"]] == ["system", "user"]
