"""From the first byte of the answer on: what servers really send, and what is not an answer."""

import asyncio
import itertools
from contextlib import aclosing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.backends.asking import QUICK, Asking, wait_until
from tests.worker.backends.rawserver import HANG, HEAD, RESET, raw_server, reply, sse, text
from turnwire.shared.model import ModelCall
from turnwire.worker.backends.errors import (
    BackendProtocolError,
    BackendReportedError,
    BackendTransportError,
    BackendTruncatedError,
)
from turnwire.worker.backends.openai import OpenAIBackend

BRISK = msgspec.structs.replace(QUICK, idle_timeout_ms=150, first_token_timeout_ms=150, max_attempts=2)


def usage(tokens_in, tokens_out, choices=()):
    counts = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
    return {"choices": list(choices), "usage": counts}


def delta(**fields):
    return {"choices": [{"index": 0, "delta": fields}]}


def tool(**fields):
    return delta(tool_calls=[fields])


FINISH = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
WHOLE = sse(delta(role="assistant"), text("hél"), text("lo€", "stop"), usage(3, 2), "[DONE]")


@pytest.mark.parametrize(
    ("body", "finish_reason"),
    [
        (sse(text("hel"), text("lo"), "[DONE]"), None),
        (sse(text("hel"), text("lo", "stop")), "stop"),
        (sse(text("hel"), text("lo", "stop")) + b"data: [DONE]", "stop"),
        (sse(text("hel"), text("lo", "length"), "[DONE]"), "length"),
        (sse(text("hel"), text("lo"), text(None, "content_filter"), "[DONE]"), "content_filter"),
        (sse(delta(role="assistant", content=None), text("hello"), FINISH, "[DONE]"), "stop"),
        (sse({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}), "stop"),
        (sse({"choices": [{}]}, {"choices": None}, {"error": None, "choices": []}, text("hello", "stop")), "stop"),
        (sse(text("hello"), {"choices": [{"index": 1, "delta": {"content": "x"}}]}, FINISH), "stop"),
        (sse(delta(refusal="hello"), FINISH), "stop"),
        (b": ping\n\n" + sse(text("hel")) + b": ping\r\n\r\n:\n" + sse(text("lo", "stop")), "stop"),
        (sse(text("hel"), text("lo", "stop"), "[DONE]").replace(b"\n", b"\r\n"), "stop"),
        (sse(text("hel"), text("lo", "stop"), "[DONE]").replace(b"\n", b"\r"), "stop"),
        (sse(text("hello", "stop"), "[DONE]", "after the end"), "stop"),
    ],
)
async def test_c26_what_servers_send_and_is_an_answer(raw, ask, body, finish_reason):
    raw.play(HEAD + body)
    asking = await ask(raw.url).run()
    assert asking.text == "hello"
    assert asking.calls == [ModelCall("tiny", finish_reason=finish_reason)]


async def test_c26_a_server_that_does_not_stream(raw, ask):
    document = usage(3, 2, [{"message": {"content": "hello"}, "finish_reason": "stop"}])
    raw.play(reply(200, msgspec.json.encode(document), "Content-Type: application/json; charset=utf-8"))
    asking = await ask(raw.url).run()
    assert (asking.text, asking.calls) == ("hello", [ModelCall("tiny", 3, 2, "stop")])


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, len(WHOLE) - 1), max_size=20))
async def test_c26_the_network_may_cut_anywhere(cuts):
    bounds = [0, *sorted(cuts), len(WHOLE)]
    pieces = [WHOLE[start:end] for start, end in itertools.pairwise(bounds)]
    async with raw_server() as raw:
        raw.play(HEAD, *pieces)
        backend = OpenAIBackend(raw.url, None, "tiny", QUICK)
        async with aclosing(backend):
            asking = await Asking(backend).run()
    assert (asking.text, asking.calls) == ("héllo€", [ModelCall("tiny", 3, 2, "stop")])


@pytest.mark.parametrize(
    ("steps", "error", "retryable"),
    [
        ([b""], BackendTruncatedError, True),
        ([sse(text("hel"))], BackendTruncatedError, True),
        ([sse(text("hel")), RESET], BackendTruncatedError, True),
        ([sse(text("hel")), HANG], BackendTruncatedError, True),
        ([HANG], BackendTruncatedError, True),
        ([b"data: [DONE]\n"], BackendTruncatedError, True),
        ([sse(text("hel"), "oops", "[DONE]")], BackendProtocolError, False),
        ([sse(text("hel"), '{"choices":', "[DONE]")], BackendProtocolError, False),
        ([sse(text("hel"), "[]", "[DONE]")], BackendProtocolError, False),
        ([sse('{"usage":' + "[" * 100_000)], BackendProtocolError, False),
        ([sse({"error": {"message": "overloaded on host-7"}}, "[DONE]")], BackendReportedError, True),
        ([sse({"error": {"code": 500, "message": "é" * 9000}})], BackendReportedError, True),
        ([sse({"error": {"code": 404}})], BackendReportedError, False),
        ([sse({"error": {"code": "429"}})], BackendReportedError, True),
        ([sse({"error": {"code": None, "type": "invalid_request_error"}})], BackendReportedError, False),
        ([sse(text("hel", "stop"), {"error": "late"}, "[DONE]")], BackendReportedError, True),
        ([b"event: error\ndata: it broke\n\n"], BackendReportedError, True),
    ],
)
async def test_w12_what_is_not_an_answer(raw, ask, steps, error, retryable):
    raw.play(HEAD, *steps)
    asking = ask(raw.url, BRISK)
    with pytest.raises(error) as caught:
        await asking.run()
    assert isinstance(caught.value, BackendTransportError)
    assert (caught.value.status, caught.value.kind, caught.value.retryable) == (200, "openai", retryable)
    assert "host-7" not in str(caught.value)
    assert len(caught.value.body.encode()) <= 2048
    assert asking.text in ("", "hel")
    assert asking.calls == [ModelCall("tiny", partial=True)]
    asked_again = retryable and not asking.text  # nothing is asked again once the answer began
    assert len(raw.requests) == (2 if asked_again else 1)


@pytest.mark.parametrize("last", [RESET, HANG])
async def test_w12_after_the_finish_reason_a_broken_connection_costs_only_the_usage(raw, ask, last):
    raw.play(HEAD, sse(text("hello", "stop")), last)
    asking = await ask(raw.url, BRISK).run()
    assert (asking.text, asking.calls) == ("hello", [ModelCall("tiny", finish_reason="stop")])


async def test_a_server_that_keeps_the_body_open_after_done_does_not_hold_the_turn_up(raw, ask):
    raw.play(HEAD + sse(text("hello"), "[DONE]"), HANG)
    assert (await ask(raw.url).run()).text == "hello"
    await raw.hung_up.wait()


@pytest.mark.parametrize(
    ("chunks", "tokens"),
    [
        ([], (None, None)),
        ([usage(3, 2)], (3, 2)),
        ([usage(3, 2, [{"index": 0, "delta": {}}])], (3, 2)),
        ([usage(3, 1), usage(3, 2), {"choices": [], "usage": None}], (3, 2)),
        ([usage(0, 0)], (0, 0)),
        ([usage(-1, 2)], (None, 2)),
        ([usage(3, None)], (3, None)),
        ([usage(True, 2.0)], (None, None)),
        ([usage(10**12, "2")], (None, None)),
        ([{"choices": [], "usage": "many"}], (None, None)),
        ([{"choices": [], "usage": {}}], (None, None)),
    ],
)
async def test_c94_c96_usage_is_what_was_reported_or_unknown(raw, ask, chunks, tokens: tuple[int | None, int | None]):
    raw.play(HEAD + sse(text("hello", "stop"), *chunks, "[DONE]"))
    asking = await ask(raw.url).run()
    assert asking.calls == [ModelCall("tiny", tokens[0], tokens[1], "stop")]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_its_own_event_and_not_the_answer(raw, ask, field):
    raw.play(HEAD + sse(delta(**{field: "let me see"}), text("hello", "stop"), "[DONE]"))
    asking = await ask(raw.url).run()
    assert asking.data("reasoning.delta") == [{"delta": "let me see"}]
    assert asking.text == "hello"


@pytest.mark.parametrize(
    "fragments",
    [
        [  # OpenAI
            tool(index=0, id="a", function={"name": "find", "arguments": ""}),
            tool(index=1, id="b", function={"name": "read", "arguments": '{"n"'}),
            tool(index=0, function={"arguments": '{"q":1}'}),
            tool(index=1, function={"arguments": ":2}"}),
        ],
        [  # no index, ids repeated
            tool(id="a", function={"name": "find", "arguments": '{"q"'}),
            tool(id="b", function={"name": "read", "arguments": '{"n"'}),
            tool(id="a", function={"name": "find", "arguments": ":1}"}),
            tool(id="b", function={"arguments": ":2}"}),
        ],
        [  # every call has index 0
            tool(index=0, id="a", function={"name": "find", "arguments": '{"q":1}'}),
            tool(index=0, id="b", function={"name": "read", "arguments": '{"n":'}),
            tool(index=0, function={"arguments": "2}"}),
        ],
        [  # whole calls in one chunk, arguments as an object
            delta(
                tool_calls=[
                    {"id": "a", "type": "function", "function": {"name": "find", "arguments": {"q": 1}}},
                    {"id": "b", "type": "function", "function": {"name": "read", "arguments": {"n": 2}}},
                ]
            )
        ],
    ],
)
async def test_tool_calls_are_put_together(raw, ask, fragments):
    raw.play(HEAD + sse(*fragments, FINISH, "[DONE]"))
    asking = await ask(raw.url).run()
    assert asking.data("tool.call") == [
        {"id": "a", "name": "find", "arguments": '{"q":1}'},
        {"id": "b", "name": "read", "arguments": '{"n":2}'},
    ]
    for call in asking.data("tool.call"):
        streamed = [part["arguments"] for part in asking.data("tool.call.delta") if part["id"] == call["id"]]
        assert "".join(streamed) == call["arguments"]


async def test_tool_calls_without_index_and_id_get_ids(raw, ask):
    calls = [tool(function={"name": "find"}), tool(function={"name": "read", "arguments": "{}"})]
    raw.play(HEAD + sse(*calls, tool(function={"arguments": " "}), FINISH))
    asking = await ask(raw.url).run()
    assert asking.data("tool.call") == [
        {"id": "call-0", "name": "find", "arguments": "{}"},
        {"id": "call-1", "name": "read", "arguments": "{}"},
    ]


@pytest.mark.parametrize(
    "calls",
    [
        [tool(index=0, id="a", function={"arguments": "{}"})],
        [tool(index=0, id="a", function={"name": "f", "arguments": "x" * 600_000})] * 2,
    ],
)
async def test_w12_tool_calls_without_a_name_or_without_end_fail(raw, ask, calls):
    raw.play(HEAD + sse(*calls, FINISH, "[DONE]"))
    asking = ask(raw.url)
    with pytest.raises(BackendProtocolError):
        await asking.run()
    assert asking.calls == [ModelCall("tiny", partial=True)]


async def test_c33_cancel_inside_the_answer_closes_the_connection_at_once(raw, ask):
    raw.play(HEAD + sse(text("hel")), HANG)
    asking = ask(raw.url)
    task = asyncio.create_task(asking.run())
    await wait_until(lambda: asking.text == "hel")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await raw.hung_up.wait()
    assert asking.calls == [ModelCall("tiny", partial=True)], "the call was made and may be billed"


async def test_c33_closing_the_stream_early_closes_the_connection(raw, ask):
    raw.play(HEAD + sse(text("hel")), HANG)
    asking = ask(raw.url)
    stream = asking.backend.stream([], idempotency_key="k", on_call=asking.calls.append)
    await anext(stream)
    await stream.aclose()
    await raw.hung_up.wait()
    assert asking.calls == [ModelCall("tiny", partial=True)]


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
IN_ONE_CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE)


@pytest.mark.parametrize("answer", [[CHUNKED, IN_ONE_CHUNK, HANG], [HEAD + sse(text("hel")), HANG], [HANG]])
async def test_c33_cancelled_at_any_moment_no_connection_is_left_behind(raw, ask, answer):
    """httpcore's pool leaked some: cancelled when a request took its connection, or when an answer gave it back."""
    raw.play(*answer)
    asking = ask(raw.url)
    for turns_of_the_loop in range(80):
        task = asyncio.create_task(asking.run())
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() or task.exception() is None
    current = asking.backend._transport._clients._current
    kept = current._transport._pool.connections if current else []
    assert all(connection.is_idle() for connection in kept)
    await wait_until(lambda: raw.open == len(kept))
    assert len(raw.requests) > 20
