"""A server says that a request is too long: the oldest turns are left out, once, and the client is told."""

from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from tests.worker.backends.asking import QUICK
from tests.worker.backends.chunks import FINISH
from tests.worker.backends.rawserver import HEAD, RESET, reply, sse, text
from turnwire.shared.events import ChatStreamEvent
from turnwire.worker.backends.answer import text_delta
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.fitting import LeftOut, shorter
from turnwire.worker.backends.generation import Origin
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.backends.quirks import Quirks

LLAMA = (
    '{"error":{"code":400,"message":"request (9000 tokens) exceeds the available context size (4096 tokens), try '
    'increasing it","type":"exceed_context_size_error","n_prompt_tokens":9000,"n_ctx":4096}}'
)
OPENAI = (
    '{"error":{"message":"This model\'s maximum context length is 8192 tokens. However, your messages resulted in 9000 '
    'tokens.","code":"context_length_exceeded"}}'
)
ANTHROPIC = '{"error":{"type":"invalid_request_error","message":"prompt is too long: 250000 tokens > 200000 maximum"}}'
SILENT = '{"error":{"message":"the input is too long","code":"context_length_exceeded"}}'
SESSION = [
    message
    for number in range(10)
    for message in ({"role": "user", "content": f"{number} " * 20}, {"role": "assistant", "content": f"{number} " * 20})
] + [{"role": "user", "content": "and now?"}]
ANSWER = HEAD + sse(text("Now "), text("this."), FINISH, "[DONE]")


@pytest.fixture
async def ask(raw):
    backend = None

    async def run(messages=SESSION, continues: Any = "off", **arguments: Any):
        nonlocal backend
        backend = OpenAIBackend(raw.url, None, "tiny", QUICK, quirks=Quirks(continues=continues))
        async with aclosing(
            backend.stream(messages, idempotency_key="k", on_call=lambda _: None, **arguments)
        ) as events:
            return [event async for event in events]

    yield run
    if backend is not None:
        await backend.aclose()


def sent(raw, number=-1):
    return msgspec.json.decode(raw.requests[number].body)["messages"]


@pytest.mark.parametrize(("refusal", "turns"), [(LLAMA, 7), (OPENAI, 4), (ANTHROPIC, 5), (SILENT, 6)])
async def test_the_oldest_turns_are_left_out_and_the_client_is_told(raw, ask, refusal, turns):
    raw.play(reply(400, refusal.encode()))
    raw.play(ANSWER)
    events = await ask()
    assert events == [LeftOut("tiny").event(turns), text_delta("Now "), text_delta("this.")]
    assert sent(raw) == SESSION[2 * turns :], "whole turns, the oldest first"
    assert [request.headers["idempotency-key"] for request in raw.requests] == ["k", "k/shorter"]


async def test_turns_that_were_left_out_before_are_counted(raw, ask):
    raw.play(reply(400, SILENT.encode()))
    raw.play(ANSWER)
    events = await ask(left_out=LeftOut("small", 3))
    assert events[0] == {"type": "history.trimmed", "data": {"model": "small", "droppedTurns": 3 + 6}}


async def test_it_happens_once(raw, ask):
    raw.play(reply(400, SILENT.encode()))
    with pytest.raises(BackendTransportError) as caught:
        await ask()
    assert (caught.value.told_code, len(raw.requests)) == ("context_length", 2)


async def test_a_question_that_is_too_long_by_itself_fails_at_once(raw, ask):
    raw.play(reply(400, SILENT.encode()))
    with pytest.raises(BackendTransportError):
        await ask([{"role": "system", "content": "be kind"}, {"role": "user", "content": "long " * 1000}])
    assert len(raw.requests) == 1


async def test_the_rest_of_an_answer_is_asked_for_with_a_shorter_history_too(raw, ask):
    raw.play(reply(400, SILENT.encode()))
    raw.play(ANSWER.replace(b"this.", b"then."))
    begun = [LeftOut("tiny").event(6), text_delta("It is "), text_delta("as it was ")]
    events = await ask(continues="prefill", begun=[ChatStreamEvent(**event) for event in begun])
    assert events[:3] == begun, "the client drops nothing"
    assert sent(raw) == [*SESSION[12:], {"role": "assistant", "content": "It is as it was"}]


async def test_a_break_after_that_goes_on_with_the_shorter_history(raw, ask):
    raw.play(reply(400, SILENT.encode()))
    raw.play(HEAD, sse(text("It is "), text("as it was ")), RESET)
    raw.play(ANSWER)
    events = await ask(continues="prefill")
    assert [event["type"] for event in events].count("history.trimmed") == 1
    assert sent(raw) == [*SESSION[12:], {"role": "assistant", "content": "It is as it was"}]


async def test_an_answer_that_is_read_again_says_it_again(raw, ask):
    raw.play(ANSWER)
    begun = [LeftOut("tiny").event(6), text_delta("Now ")]
    resumes = Origin("c", resumes=True)
    events = await ask(continues="llama-stream", origin=resumes, begun=[ChatStreamEvent(**event) for event in begun])
    assert events == [*begun, text_delta("this.")]


def test_a_limit_that_makes_no_sense_is_not_believed():
    assert shorter(SESSION, '{"n_ctx": 9000, "n_prompt_tokens": 4096}') == shorter(SESSION, "")
