"""A server that goes on with an answer by itself is read again, and nothing is generated twice."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from tests.support.model_server import running_model_server
from tests.worker.backends.asking import QUICK, Asking, collect, wait_until
from tests.worker.backends.chunks import FINISH, USAGE, call
from tests.worker.backends.rawserver import HANG, HEAD, RESET, reply, sse, text
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import ModelCall
from turnwire.worker.backends.errors import BackendTransportError, BackendTruncatedError
from turnwire.worker.backends.generation import Origin
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.backends.quirks import Quirks

FIRST, AGAIN = Origin("a call"), Origin("a call", resumes=True)
ANSWER = [text("The contract is "), text("valid only if it wa"), text("s signed.")]
NO_SUCH = reply(404, b'{"error":{"message":"File Not Found","type":"not_found_error","code":404}}')
NOTHING_MORE = [HEAD, sse(*ANSWER[:2])]  # a kept answer that was stopped


@pytest.fixture
async def kept(raw):
    """Asks with a backend whose server keeps its answers."""
    backend = OpenAIBackend(raw.url, None, "tiny", QUICK, quirks=Quirks(continues="llama-stream"))

    async def run(origin: Origin = FIRST, begun: Any = (), stop_after: int = 0, **options: Any) -> Asking:
        asking = Asking(backend)
        stream = backend.stream(
            [{"role": "user", "content": "q"}], options=options, idempotency_key="k", on_call=asking.calls.append,
            origin=origin, begun=begun,
        )  # fmt: skip
        async with aclosing(stream) as events:
            async for event in events:
                asking.events.append(event)
                if len(asking.events) == stop_after:
                    break
        return asking

    yield run
    await backend.aclose()


def lines(raw) -> list[str]:
    return [request.line.partition("?")[0].removesuffix(" HTTP/1.1") for request in raw.requests]


POST, GET, DELETE = "POST /v1/chat/completions", "GET /v1/stream", "DELETE /v1/stream"


async def test_an_answer_that_breaks_off_is_read_again(raw, kept):
    raw.play(HEAD, sse(*ANSWER[:2]), RESET)
    raw.play(HEAD + sse(*ANSWER, FINISH, USAGE, "[DONE]"))
    asking = await kept()
    assert [event["data"]["delta"] for event in asking.events] == [
        "The contract is ",
        "valid only if it wa",
        "s signed.",
    ]
    assert lines(raw) == [POST, GET]
    first, second = raw.requests
    generation_id = first.headers["x-conversation-id"]
    assert second.line.startswith(f"GET /v1/stream?conv_id={generation_id}&from=0 ")
    assert asking.calls == [ModelCall("tiny", 3, 2, "stop")], "one generation is one call"


@pytest.mark.parametrize("last", [call("look_up", '{"q":1}', id="c1"), text("s signed.")])
async def test_tool_calls_are_no_obstacle(raw, kept, last):
    raw.play(HEAD, sse(ANSWER[0], last), RESET)
    raw.play(HEAD + sse(ANSWER[0], last, FINISH, "[DONE]"))
    asking = await kept()
    raw.play(HEAD + sse(ANSWER[0], last, FINISH, "[DONE]"))
    assert asking.events == (await kept()).events


async def test_a_later_attempt_reads_the_answer_of_the_earlier_one_from_its_beginning(raw, kept):
    raw.play(HEAD + sse(*ANSWER, FINISH, USAGE, "[DONE]"))
    begun = [ChatStreamEvent("message.part.updated", {"part": {"type": "text", "id": "text-0"}, "delta": "The con"})]
    asking = await kept(AGAIN, begun)
    assert lines(raw) == [GET]
    assert asking.text == "The contract is valid only if it was signed."
    assert asking.calls == [ModelCall("tiny", 3, 2, "stop")]


async def test_an_answer_that_is_not_kept_is_asked_for(raw, kept):
    raw.play(NO_SUCH)
    raw.play(HEAD + sse(*ANSWER, FINISH, "[DONE]"))
    asking = await kept(AGAIN)
    assert lines(raw) == [GET, POST]
    assert raw.requests[1].headers["x-conversation-id"] in raw.requests[0].line
    assert asking.text == "The contract is valid only if it was signed."


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_answer_that_is_lost_goes_on_from_what_was_said(raw, kept, status):
    raw.play(HEAD, sse(*ANSWER[:2]), RESET)
    raw.play(reply(status, b"{}"))
    raw.play(HEAD + sse(text(" was"), text(" signed."), FINISH, "[DONE]"))
    asking = await kept()
    assert lines(raw) == [POST, GET, POST]
    assert "x-conversation-id" not in raw.requests[2].headers
    assert asking.text == "The contract is valid only if it was signed."
    assert asking.calls == [ModelCall("tiny", partial=True), ModelCall("tiny", finish_reason="stop")]


async def test_a_later_attempt_goes_on_with_what_was_said_if_the_answer_is_lost(raw, kept):
    raw.play(NO_SUCH)
    raw.play(HEAD + sse(text(" was"), text(" signed."), FINISH, "[DONE]"))
    said = "The contract is valid only if it wa"
    begun = [ChatStreamEvent("message.part.updated", {"part": {"type": "text", "id": "text-0"}, "delta": said})]
    asking = await kept(AGAIN, begun)
    assert b"valid only if it" in raw.requests[1].body
    assert asking.text == "The contract is valid only if it was signed."


async def test_the_first_failure_is_told_if_an_answer_is_lost_and_cannot_go_on(raw, kept):
    raw.play(HEAD, sse(call("look_up", '{"q":', id="c1")), RESET)
    raw.play(NO_SUCH)
    with pytest.raises(BackendTruncatedError, match="broke off"):
        await kept()
    assert lines(raw) == [POST, GET]


async def test_an_answer_that_was_stopped_is_not_read_for_ever(raw, kept):
    raw.play(HEAD, sse(*ANSWER[:2]), RESET)
    raw.play(*NOTHING_MORE)
    raw.play(reply(204))
    raw.play(HEAD + sse(text(" was"), text(" signed."), FINISH, "[DONE]"))
    asking = await kept()
    assert lines(raw) == [POST, GET, DELETE, POST]
    assert asking.text == "The contract is valid only if it was signed."


async def test_a_server_that_is_down_is_asked_again_for_the_same_answer(raw, kept):
    raw.play(HEAD, sse(*ANSWER[:2]), RESET)
    raw.play(reply(503, b"{}"))
    raw.play(HEAD + sse(*ANSWER, FINISH, USAGE, "[DONE]"))
    asking = await kept()
    assert lines(raw) == [POST, GET, GET]
    assert asking.calls == [ModelCall("tiny", 3, 2, "stop")]


async def test_a_caller_that_stops_early_stops_the_model(raw, kept):
    raw.play(HEAD, sse(ANSWER[0]), HANG)
    raw.play(reply(204, b""))
    asking = await kept(stop_after=1)
    assert lines(raw) == [POST, DELETE]
    assert raw.requests[0].headers["x-conversation-id"] in raw.requests[1].line
    assert asking.calls == [ModelCall("tiny", partial=True)]


async def test_a_failure_stops_the_model(raw, kept):
    raw.play(HEAD, sse(*ANSWER[:2]), RESET)
    raw.play(HEAD, sse(*ANSWER[:2]), RESET)
    raw.play(reply(204))
    with pytest.raises(BackendTransportError):
        await kept(response_format={"type": "json_object"})
    assert lines(raw) == [POST, GET, DELETE]


async def test_a_refused_request_leaves_nothing_to_stop(raw, kept):
    raw.play(reply(400, b'{"error":{"message":"bad temperature"}}'))
    with pytest.raises(BackendTransportError):
        await kept()
    assert lines(raw) == [POST]


async def test_an_answer_that_another_attempt_reads_on_is_neither_stopped_nor_counted():
    async with running_model_server() as server:
        backend = OpenAIBackend(server.url, None, "m", QUICK, quirks=Quirks(continues="llama-stream"))
        calls: list[ModelCall] = []
        events: list[dict[str, Any]] = []

        async def ask(origin: Origin) -> None:
            messages = [{"role": "user", "content": "a 50 500"}]
            stream = backend.stream(messages, idempotency_key="k", on_call=calls.append, origin=origin)
            await collect(stream, events)

        first = asyncio.create_task(ask(Origin("c", moves=lambda: True)))
        await wait_until(lambda: len(events) > 10)
        first.cancel()
        await asyncio.wait({first})
        assert calls == []
        begun, events[:] = list(events), []
        await ask(Origin("c", resumes=True))
        assert events[: len(begun)] == begun
        assert (len(events), server.paid, [made.tokens_out for made in calls]) == (50, 50, [50])
        stopped = asyncio.create_task(ask(Origin("d")))
        await wait_until(lambda: len(events) > 60)
        stopped.cancel()
        await asyncio.wait({stopped})
        paid = server.paid
        await ask(Origin("e"))
        assert server.paid == paid + 50, "the answer that was cancelled is made no further"
        await backend.aclose()
