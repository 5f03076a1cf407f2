"""The backend against llmock, a server that speaks the protocol, breaks it on demand and grades how we cope."""

import pytest

from tests.worker.backends.asking import QUESTION
from turnwire.shared.model import ModelCall
from turnwire.worker.backends.errors import BackendProtocolError, BackendTransportError, BackendTruncatedError
from turnwire.worker.backends.retry import RetryPolicy

POLICY = RetryPolicy(initial_backoff_ms=60, max_backoff_ms=600, request_timeout_ms=5_000, idle_timeout_ms=5_000)
HELLO = {"type": "reply", "text": "Hello, world of streams"}


def fail(status, times=1, **more):
    return {"type": "fail", "status": status, "times": times, **more}


async def test_c26_streams_text_and_reports_usage(llmock_server, ask):
    llmock_server.script(HELLO)
    asking = await ask(llmock_server.url, POLICY).run()
    assert asking.text == "Hello, world of streams"
    assert len(asking.events) > 2
    llmock_server.assert_clean()


async def test_c27_503_503_200_is_one_answer_with_the_same_body_each_time(llmock_server, ask):
    llmock_server.script(fail(503, 2), HELLO)
    asking = await ask(llmock_server.url, POLICY).run()
    assert asking.text == "Hello, world of streams"
    requests = llmock_server.requests()
    assert [request["status"] for request in requests] == [503, 503, 200]
    assert len({request["fingerprint"] for request in requests}) == 1
    assert requests[0]["body"] == {
        "model": "tiny",
        "messages": QUESTION,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    llmock_server.assert_clean()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_c28_a_client_error_is_asked_once(llmock_server, ask, status):
    llmock_server.script(fail(status, None))
    asking = ask(llmock_server.url, POLICY)
    with pytest.raises(BackendTransportError) as caught:
        await asking.run()
    assert (caught.value.status, caught.value.kind, caught.value.retryable) == (status, "openai", False)
    assert caught.value.code == "backend_transport"
    assert len(llmock_server.requests()) == 1
    assert asking.calls == []
    llmock_server.assert_clean()


async def test_c29_502_until_the_attempts_are_used_up(llmock_server, ask):
    llmock_server.script(fail(502, None))
    policy = RetryPolicy(max_attempts=3, initial_backoff_ms=60)
    with pytest.raises(BackendTransportError, match="attempt 3 of 3") as caught:
        await ask(llmock_server.url, policy).run()
    assert (caught.value.status, caught.value.retryable) == (502, True)
    assert len(llmock_server.requests()) == 3
    llmock_server.assert_clean()


async def test_w13_retry_after_is_waited_for(llmock_server, ask):
    llmock_server.script(fail(429, retry_after=1), HELLO)
    asking = await ask(llmock_server.url, POLICY).run()
    assert asking.text == "Hello, world of streams"
    first, second = llmock_server.requests()
    assert second["started_at"] - first["ended_at"] >= 1.0
    llmock_server.assert_clean()


async def test_c94_usage_becomes_one_call_with_model_and_finish_reason(llmock_server, ask):
    llmock_server.script(HELLO)
    asking = await ask(llmock_server.url, POLICY).run(model="other")
    (call,) = asking.calls
    assert (call.model, call.finish_reason) == ("other", "stop")
    assert call.tokens_in is not None
    assert call.tokens_in > 0
    assert call.tokens_out is not None
    assert call.tokens_out > 0


async def test_c95_the_body_of_a_refusal_is_in_the_error_and_not_in_its_message(llmock_server, ask):
    llmock_server.script(fail(403, message="key of host-7.internal is blocked"))
    with pytest.raises(BackendTransportError) as caught:
        await ask(llmock_server.url, POLICY).run()
    assert "host-7.internal" in caught.value.body
    assert "host-7.internal" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "error", "retryable"),
    [
        ("truncate", BackendTruncatedError, True),
        ("disconnect", BackendTruncatedError, True),
        ("malformed", BackendProtocolError, False),
    ],
)
async def test_w12_a_broken_answer_is_a_failure(llmock_server, ask, kind, error, retryable):
    llmock_server.script(HELLO, {"type": "stream_fault", "kind": kind, "after_chunks": 2})
    asking = ask(llmock_server.url, POLICY)
    with pytest.raises(error) as caught:
        await asking.run()
    assert (caught.value.status, caught.value.retryable) == (200, retryable)
    assert asking.text == "Hello, "
    assert asking.calls == [ModelCall("tiny", partial=True)]


async def test_w13_a_stalled_answer_ends_after_the_idle_timeout(llmock_server, ask):
    llmock_server.script(HELLO, {"type": "stream_fault", "kind": "stall", "after_chunks": 2, "stall_seconds": 30})
    policy = RetryPolicy(idle_timeout_ms=150)
    asking = ask(llmock_server.url, policy)
    with pytest.raises(BackendTruncatedError, match="150 ms"):
        await asking.run()
    assert asking.text == "Hello, "


async def test_the_connection_is_used_again(llmock_server, ask):
    asking = ask(llmock_server.url, POLICY)
    for _ in range(3):
        await asking.run()
    pool = asking.backend._transport._clients._current._transport._pool
    assert [connection.info() for connection in pool.connections] == [
        f"'{llmock_server.url.removesuffix('/v1')}', HTTP/1.1, IDLE, Request Count: 3"
    ]
