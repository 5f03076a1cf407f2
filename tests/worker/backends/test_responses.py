"""Answers by OpenAI's Responses API in the background: asked, read again, and stopped.

No real server was asked. What is sent and received here has the forms that OpenAI's own library knows.
"""

from contextlib import aclosing
from functools import cache
from typing import Any

import msgspec
import pytest

from tests.support.model_server import running_model_server
from tests.support.turns import KEY, append, claim, delta, request
from tests.worker.backends.asking import QUICK
from tests.worker.backends.rawserver import HANG, HEAD, RESET, reply
from turnwire.backends import OpenAIBackend, OpenAIHooks
from turnwire.shared.events import ChatStreamEvent, encode_event
from turnwire.shared.model import ModelCall
from turnwire.worker.attempt.outcome import Done
from turnwire.worker.backends.answer import text_delta
from turnwire.worker.backends.errors import BackendReportedError, BackendTransportError
from turnwire.worker.backends.quirks import Quirks
from turnwire.worker.backends.responses_request import responses_request

QUESTION: Any = [{"role": "user", "content": "a 3 1000"}]
NAME: dict[str, Any] = {"type": "model.response", "data": {"id": "resp_1"}}
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "parallel_tool_calls": True,
    "tool_choice": "auto", "tools": [], "status": "in_progress", "background": True,
}  # fmt: skip
USAGE = {
    "input_tokens": 30, "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 0}, "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 37,
}  # fmt: skip
CREATED = {"type": "response.created", "response": RESPONSE}
QUEUED = {"type": "response.queued", "response": {**RESPONSE, "status": "queued"}}
COMPLETED = {"type": "response.completed", "response": {**RESPONSE, "status": "completed", "usage": USAGE}}
CALLED = [
    {
        "type": "response.output_item.added",
        "output_index": 1,
        "item": {"type": "function_call", "id": "fc", "call_id": "c1", "name": "look_up", "arguments": ""},
    },
    {"type": "response.function_call_arguments.delta", "item_id": "fc", "output_index": 1, "delta": '{"q":'},
    {"type": "response.function_call_arguments.delta", "item_id": "fc", "output_index": 1, "delta": "1}"},
]


@cache
def adapter_of(name: str) -> Any:
    """Return what validates a type of OpenAI's library."""
    from openai.types import responses
    from pydantic import TypeAdapter

    types = {
        "event": responses.ResponseStreamEvent,
        "request": responses.response_create_params.ResponseCreateParamsStreaming,
    }
    return TypeAdapter(types[name])


def said(delta: str, kind: str = "output_text") -> dict[str, Any]:
    place = {"item_id": "i", "output_index": 0, "content_index": 0, "summary_index": 0, "logprobs": []}
    return {"type": f"response.{kind}.delta", "delta": delta, **place}


def ended(status: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": {**RESPONSE, "status": status, **fields}}


def stream(*events: dict[str, Any]) -> bytes:
    lines = b""
    for number, event in enumerate(events):
        numbered = {**event, "sequence_number": number}
        adapter_of("event").validate_python(numbered)
        lines += b"event: " + event["type"].encode() + b"\ndata: " + msgspec.json.encode(numbered) + b"\n\n"
    return lines


BEGINNING = (CREATED, QUEUED, said("The contract "), said("is val"))
WHOLE = (*BEGINNING, said("id."), COMPLETED)
TEXT = [NAME, text_delta("The contract "), text_delta("is val"), text_delta("id.")]
COUNTED = ModelCall("m", 30, 7, "stop", cached_tokens=10, reasoning_tokens=2)


@pytest.fixture
async def backend(raw):
    backend = OpenAIBackend(raw.url, "sk-secret", "m", QUICK, quirks=Quirks(continues="responses"))
    yield backend
    await backend.aclose()


@pytest.fixture
def ask(backend):
    async def run(calls: list[ModelCall], *, begun: Any = (), stop_after: int = 0, **options: Any):
        answer = backend.stream(
            [{"role": "user", "content": "q"}], options=options, idempotency_key="k", on_call=calls.append,
            begun=[ChatStreamEvent(**event) for event in begun],
        )  # fmt: skip
        events: list[Any] = []
        async with aclosing(answer) as streamed:
            async for event in streamed:
                events.append(event)
                if len(events) == stop_after:
                    break
        return events

    return run


def lines(raw) -> list[str]:
    return [request.line.removesuffix(" HTTP/1.1") for request in raw.requests]


POST, GET, CANCEL = "POST /v1/responses", "GET /v1/responses/resp_1?stream=true", "POST /v1/responses/resp_1/cancel"


async def test_an_answer_in_the_background(raw, ask):
    raw.play(HEAD + stream(*WHOLE))
    calls: list[ModelCall] = []
    assert await ask(calls, max_tokens=50) == TEXT
    assert calls == [COUNTED]
    body = msgspec.json.decode(raw.requests[0].body)
    assert (body["background"], body["stream"], body["max_output_tokens"]) == (True, True, 50)
    assert lines(raw) == [POST]


async def test_reasoning_and_tool_calls(raw, ask):
    raw.play(HEAD + stream(CREATED, said("hm", "reasoning_summary_text"), *CALLED, COMPLETED))
    calls: list[ModelCall] = []
    events = await ask(calls)
    assert events[1] == {"type": "reasoning.delta", "data": {"delta": "hm"}}
    assert events[-1] == {"type": "tool.call", "data": {"id": "c1", "name": "look_up", "arguments": '{"q":1}'}}
    assert calls[0].finish_reason == "tool_calls"


async def test_an_answer_that_breaks_off_is_read_again(raw, ask):
    raw.play(HEAD, stream(*BEGINNING), RESET)
    raw.play(HEAD + stream(*WHOLE))
    calls: list[ModelCall] = []
    assert await ask(calls) == TEXT
    assert lines(raw) == [POST, GET]
    assert calls == [COUNTED], "one answer is one call"


async def test_a_later_attempt_reads_it_under_the_name_that_is_in_the_log(raw, ask):
    raw.play(HEAD + stream(*WHOLE))
    assert await ask([], begun=TEXT[:2]) == TEXT
    assert lines(raw) == [GET]


async def test_an_answer_that_is_lost_is_asked_for_anew(raw, ask):
    raw.play(reply(404, b'{"error":{"message":"no such response","type":"invalid_request_error"}}'))
    raw.play(HEAD + stream(*WHOLE))
    assert await ask([], begun=TEXT[:2]) == TEXT
    assert lines(raw) == [GET, POST]


async def test_a_connection_that_breaks_before_the_name_leaves_nothing_to_read(raw, ask):
    raw.play(HEAD, b": wait\n\n", RESET)
    raw.play(HEAD + stream(*WHOLE))
    assert await ask([]) == TEXT
    assert lines(raw) == [POST, POST]


async def test_a_caller_that_stops_early_stops_the_model(raw, ask):
    raw.play(HEAD, stream(*BEGINNING), HANG)
    raw.play(reply(200, b"{}"))
    await ask([], stop_after=2)
    assert lines(raw) == [POST, CANCEL]
    assert raw.requests[1].headers["authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (ended("incomplete", incomplete_details={"reason": "max_output_tokens"}, usage=USAGE), "length"),
        (ended("incomplete", incomplete_details={"reason": "content_filter"}, usage=USAGE), "content_filter"),
    ],
)
async def test_an_answer_that_is_cut_says_why(raw, ask, end, reason):
    raw.play(HEAD + stream(CREATED, said("The"), end))
    calls: list[ModelCall] = []
    await ask(calls)
    assert calls[0].finish_reason == reason


async def test_a_failure_is_no_answer(raw, ask):
    error = {"code": "rate_limit_exceeded", "message": "Rate limit reached"}
    raw.play(HEAD + stream(CREATED, said("The"), ended("failed", error=error)))
    raw.play(reply(200, b"{}"))
    with pytest.raises(BackendReportedError) as caught:
        await ask([])
    assert caught.value.told_code == "rate_limit"


async def test_an_error_inside_the_stream_is_told(raw, ask):
    raw.play(HEAD + stream({"type": "error", "code": "server_error", "message": "no", "param": None}))
    with pytest.raises(BackendTransportError):
        await ask([])


def test_a_request_has_the_forms_of_the_api():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    made = responses_request(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": [{"type": "text", "text": "hi"},
                                             {"type": "image_url", "image_url": {"url": "https://h/", "detail": "low"}},
                                             {"type": "file", "file": {"filename": "f", "file_data": "data:,x"}}]},
                {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "found"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": False}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            "reasoning_effort": "low",
            "max_completion_tokens": 7,
            "temperature": 0.5,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )  # fmt: skip
    adapter_of("request").validate_python(made)
    assert [item.get("type", item.get("role")) for item in made["input"]] == [
        "system", "user", "assistant", "function_call", "function_call_output",
    ]  # fmt: skip
    assert [part["type"] for part in made["input"][1]["content"]] == ["input_text", "input_image", "input_file"]
    assert made["tools"][0]["name"] == made["tool_choice"]["name"] == "f"
    assert made["text"]["format"] == {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    assert (made["reasoning"], made["max_output_tokens"], made["temperature"]) == ({"effort": "low"}, 7, 0.5)
    assert "stream_options" not in made


async def test_a_turn_that_is_cancelled_when_its_worker_is_dead_stops_the_model(raw, backend, store, runner_of):
    raw.play(reply(200, b"{}"))
    await store.submit(KEY, request())
    claimed = await claim(store)
    await append(store, claimed, 1, encode_event(NAME["type"], NAME["data"]), delta("The"))
    await store.cancel(KEY)
    await store.redis.delete(KEY.lease)
    assert isinstance(await runner_of(OpenAIHooks(backend)).run(KEY.run_id), Done)
    assert lines(raw) == [CANCEL]


async def test_the_offline_server_speaks_as_the_real_library_expects():
    import openai

    async with running_model_server() as server, openai.AsyncOpenAI(base_url=server.url, api_key="none") as client:
        created = await client.responses.create(model="m", input=QUESTION, stream=True, background=True)
        events = [event async for event in created]
        for event in events:
            adapter_of("event").validate_python(event.model_dump(mode="json", warnings=False))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        name = events[0].response.id
        rest = await client.responses.retrieve(name, stream=True, starting_after=6)
        assert [event async for event in rest] == events[7:]
        assert events[-1].response.output_text == "a.0 a.1 a.2"
        assert (await client.responses.cancel(name)).status == "cancelled"
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve("resp_unknown", stream=True)
