"""The real `openai` SDK with a client whose requests a backend makes."""

import json
from typing import Any

import pytest

from tests.support.later import Later
from tests.worker.backends.asking import QUICK
from tests.worker.backends.rawserver import HANG, HEAD, RESET, reply, sse, text
from turnwire import ChatTurnHooks
from turnwire.backends import OpenAIBackend, model_request, sdk_client
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import ModelCall
from turnwire.testing import run_turn
from turnwire.worker.backends.quirks import Quirks
from turnwire.worker.backends.sdk_chunks import Chunks, TextReplacedError

openai = Later("openai")
QUESTION: Any = [{"role": "user", "content": "hi"}]
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": 2}}


def called(*fragments: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"tool_calls": list(fragments)}, "finish_reason": None}]}


# Gemini's way: all calls at index 0, without ids, and with a thought signature that has to go back.
CALLS = sse(
    {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}, "finish_reason": None}]},
    text("Let me "),
    text("see."),
    called({"index": 0, "id": "", "function": {"name": "find", "arguments": '{"q":1}'}, "extra_content": {"s": "x"}}),
    called({"index": 0, "id": "", "function": {"name": "read", "arguments": '{"n":'}}),
    called({"index": 0, "id": "", "function": {"arguments": "2}"}}),
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": USAGE},
    "[DONE]",
)


@pytest.fixture
async def client(raw):
    backend = OpenAIBackend(raw.url, "sk-secret", "m", QUICK)
    async with openai.AsyncOpenAI(base_url="http://nobody", api_key="none", http_client=sdk_client(backend)) as client:
        yield client
    await backend.aclose()


def asked(client: Any, **fields: Any) -> Any:
    return client.chat.completions.create(model="m", messages=QUESTION, **fields)


async def chunks_of(client: Any) -> list[Any]:
    return [chunk async for chunk in await asked(client, stream=True)]


async def test_what_a_server_streams_reaches_the_sdk(raw, client):
    raw.play(HEAD + CALLS)
    chunks = await chunks_of(client)
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert [delta.content for delta in deltas if delta.content] == ["Let me ", "see."]
    assert [delta.reasoning_content for delta in deltas if hasattr(delta, "reasoning_content")] == ["Hm."]
    fragments = [fragment for delta in deltas for fragment in delta.tool_calls or ()]
    assert [(one.index, one.id, one.function.name, one.function.arguments) for one in fragments[:3]] == [
        (0, "call-0", "find", '{"q":1}'),
        (1, "call-1", "read", '{"n":'),
        (1, None, None, "2}"),
    ]
    assert fragments[3].extra_content == {"s": "x"}
    assert chunks[-1].usage.model_dump(exclude_unset=True)["prompt_tokens_details"] == {"cached_tokens": 2}
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (7, 3)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    [sent] = raw.requests
    assert sent.headers["authorization"] == "Bearer sk-secret"


async def test_an_answer_that_is_not_streamed_is_a_document(raw, client):
    raw.play(HEAD + CALLS)
    answer = await asked(client, temperature=0.5, extra_headers={"X-Title": "shop"}, extra_body={"top_k": 3})
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("Let me see.", "tool_calls")
    assert [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls] == [
        ("call-0", "find", '{"q":1}'),
        ("call-1", "read", '{"n":2}'),
    ]
    assert answer.usage.total_tokens == 10
    [sent] = raw.requests
    assert sent.headers["x-title"] == "shop"
    assert {name: json.loads(sent.body)[name] for name in ("temperature", "top_k", "stream")} == {
        "temperature": 0.5, "top_k": 3, "stream": True,
    }  # fmt: skip


async def test_a_refusal_keeps_its_status_and_is_not_asked_again(raw, client):
    raw.play(reply(401, b'{"error":{"message":"no such key sk-secret"}}'))
    with pytest.raises(openai.AuthenticationError) as caught:
        await chunks_of(client)
    assert caught.value.code == "auth"
    assert "sk-secret" not in str(caught.value)
    assert len(raw.requests) == 1


async def test_a_server_that_is_down_is_no_service(raw, client):
    raw.play(RESET)
    with pytest.raises(openai.InternalServerError) as caught:
        await asked(client)
    assert caught.value.status_code == 503
    assert len(raw.requests) == QUICK.max_attempts, "the SDK has not tried again"


async def test_only_chat_completions_are_asked_for(client):
    with pytest.raises(openai.NotFoundError, match="chat completions only"):
        await client.responses.create(model="m", input="hi")


async def test_who_stops_reading_stops_the_model(raw, client):
    raw.play(HEAD + sse(text("one")), HANG)
    async with await asked(client, stream=True) as stream:
        async for _ in stream:
            break
    await raw.hung_up.wait()


class Asks(ChatTurnHooks):
    """Asks with the SDK, as a product's own code may."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.failure: Any = None

    async def produce(self, turn):
        with model_request(turn, "only", model="named", begun=turn.partial_events) as made:
            try:
                async for chunk in await asked(self.client, stream=True):
                    for choice in chunk.choices:
                        part = {"type": "text", "id": "text-0"}
                        yield {
                            "type": "message.part.updated",
                            "data": {"part": part, "delta": choice.delta.content or ""},
                        }
            finally:
                self.failure = made.failure


async def test_a_request_of_a_turn_is_counted_in_its_usage(raw, client):
    raw.play(HEAD + CALLS)
    run = await run_turn(Asks(client), "hi")
    assert [call for _, call in run.model_calls] == [
        ModelCall("named", 7, 3, "tool_calls", cached_tokens=2),
    ]
    [sent] = raw.requests
    assert sent.headers["idempotency-key"].endswith("/1/only")


async def test_an_answer_that_breaks_off_tells_why(raw, client):
    raw.play(HEAD + sse(text("one "), {"error": {"message": "the GPU burns", "code": 500}}))
    hooks = Asks(client)
    run = await run_turn(hooks, "hi")
    assert (run.status, run.streamed_text) == ("failed", "one ")
    assert (hooks.failure.code, hooks.failure.retryable) == ("backend_error", True)


class Falls(ChatTurnHooks):
    """Asks again if the first request fails, as frameworks ask another model."""

    continues_answers = True

    def __init__(self, client: Any) -> None:
        self.client = client

    async def produce(self, turn):
        with model_request(turn, "only", begun=begun_with("The contract ", "is valid")):
            with pytest.raises(openai.BadRequestError):
                await asked(self.client, stream=True)
            yield said("".join([c.choices[0].delta.content or "" async for c in await asked(self.client, stream=True)]))


async def test_another_request_does_not_go_on_with_the_text_of_the_first(raw):
    raw.play(reply(400, b'{"error":{"message":"no"}}'))
    raw.play(reply(400, b'{"error":{"message":"no"}}'))
    raw.play(HEAD + sse(text("Yes."), text(None, "stop"), "[DONE]"))
    backend = OpenAIBackend(raw.url, None, "m", QUICK, quirks=Quirks(continues="prefill"))
    async with openai.AsyncOpenAI(base_url="http://nobody", api_key="x", http_client=sdk_client(backend)) as client:
        run = await run_turn(Falls(client), "hi")
    await backend.aclose()
    assert run.final_text == "Yes."
    roles = [json.loads(request.body)["messages"][-1]["role"] for request in raw.requests]
    assert roles == ["assistant", "user", "user"], "the rest, then anew, then another request"


def begun_with(*deltas: str) -> list[ChatStreamEvent]:
    return [ChatStreamEvent("message.part.updated", said(delta)["data"]) for delta in deltas]


def said(delta: str) -> dict[str, Any]:
    return {"type": "message.part.updated", "data": {"part": {"type": "text", "id": "text-1"}, "delta": delta}}


def replaced(whole: str) -> dict[str, Any]:
    return {"type": "message.part.updated", "data": {"part": {"type": "text", "id": "text-0", "text": whole}}}


def contents(chunks: list[dict[str, Any]] | None) -> list[str]:
    return [choice["delta"]["content"] for chunk in chunks or [] for choice in chunk["choices"]]


def test_what_was_said_before_is_held_back_until_the_answer_goes_on_with_it():
    chunks = Chunks("m", begun_with("one ", "two "))
    assert [contents(chunks.take(said(delta))) for delta in ("one ", "two ", "three")] == [
        [], [], ["one ", "two ", "three"],
    ]  # fmt: skip


def test_a_text_that_replaces_what_was_held_back_has_the_same_pieces_as_far_as_it_is_the_same():
    chunks = Chunks("m", begun_with("one ", "two ", "thr"))
    assert [contents(chunks.take(said(delta))) for delta in ("one ", "two ", "thr")] == [[], [], []]
    assert contents(chunks.take(replaced("one two four"))) == ["one ", "two ", "four"]
    assert contents(chunks.take(said(" five"))) == [" five"]


def test_a_text_that_was_passed_on_cannot_be_replaced():
    chunks = Chunks("m", [])
    chunks.take(said("one "))
    with pytest.raises(TextReplacedError):
        chunks.take(replaced("uno"))
