"""Until the answer begins: what is asked, when it is asked again, and when it is given up."""

import asyncio
import logging

import httpx
import msgspec
import pytest

from tests.worker.backends.asking import QUICK, Asking, wait_until
from tests.worker.backends.rawserver import HANG, HEAD, RESET, reply, sse, text
from turnwire.shared.errors import SettingsError, TurnFailure
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.backends.retry import RetryPolicy

ANSWER = HEAD + sse(text("hel"), text("lo", "stop"), "[DONE]")
DELAYED = msgspec.structs.replace(QUICK, initial_backoff_ms=60_000, max_backoff_ms=60_000)


async def test_c26_the_request_is_what_the_contract_says(raw, ask):
    raw.play(ANSWER)
    asking = await ask(raw.url + "/").run()
    assert asking.text == "hello"
    (request,) = raw.requests
    assert request.line == "POST /v1/chat/completions HTTP/1.1"
    assert request.headers["authorization"] == "Bearer sk-secret"
    assert request.headers["idempotency-key"] == "chat:s:0/1"
    assert msgspec.json.decode(request.body)["stream_options"] == {"include_usage": True}


async def test_without_a_key_there_is_no_authorization(raw, ask):
    raw.play(ANSWER)
    await ask(raw.url, api_key=None).run()
    assert "authorization" not in raw.requests[0].headers


async def test_c27_every_attempt_sends_the_same_bytes_and_the_same_idempotency_key(raw, ask):
    raw.play(reply(503))
    raw.play(RESET)
    raw.play(reply(500))
    raw.play(b"")
    raw.play(ANSWER)
    assert (await ask(raw.url).run()).text == "hello"
    assert len(raw.requests) == 5
    assert len({request.body for request in raw.requests}) == 1
    assert {request.headers["idempotency-key"] for request in raw.requests} == {"chat:s:0/1"}


async def test_c30_no_connection_is_status_0_and_unreachable(unused_tcp_port, ask):
    policy = msgspec.structs.replace(QUICK, max_attempts=2)
    asking = ask(f"http://127.0.0.1:{unused_tcp_port}/v1", policy)
    with pytest.raises(BackendTransportError, match=r"unreachable: no connection \(attempt 2 of 2\)") as caught:
        await asking.run()
    assert (caught.value.status, caught.value.code, caught.value.retryable) == (0, "backend_transport", True)
    assert isinstance(caught.value, TurnFailure)
    assert "127.0.0.1" not in str(caught.value)
    assert asking.calls == []


@pytest.mark.parametrize(("first", "last", "status"), [(reply(503), RESET, 0), (RESET, reply(503), 503)])
async def test_c30_the_last_failure_decides(raw, ask, first, last, status):
    raw.play(first)
    raw.play(last)
    with pytest.raises(BackendTransportError) as caught:
        await ask(raw.url, msgspec.structs.replace(QUICK, max_attempts=2)).run()
    assert caught.value.status == status


async def test_c31_late_headers_are_given_up_and_asked_again(raw, ask):
    raw.play(HANG)
    policy = msgspec.structs.replace(QUICK, max_attempts=2, request_timeout_ms=500)
    with pytest.raises(BackendTransportError, match="no answer within 500 ms") as caught:
        await ask(raw.url, policy).run()
    assert caught.value.status == 0
    assert len(raw.requests) == 2
    await raw.hung_up.wait()


async def test_c31_an_answer_after_a_late_one(raw, ask):
    raw.play(b"HTTP/1.1 200 OK\r\nContent-", HANG)
    raw.play(ANSWER)
    assert (await ask(raw.url, msgspec.structs.replace(QUICK, request_timeout_ms=300)).run()).text == "hello"


async def test_the_deadline_to_headers_does_not_bound_the_answer(raw, ask):
    raw.play(ANSWER)
    asking = ask(raw.url, msgspec.structs.replace(QUICK, request_timeout_ms=300))
    stream = asking.backend.stream([], idempotency_key="k", on_call=asking.calls.append)
    await anext(stream)
    await asyncio.sleep(0.4)  # longer than the deadline: the passing of time is what is tested
    assert [event["data"]["delta"] async for event in stream] == ["lo"]


async def test_c32_no_deadline_still_can_be_cancelled(raw, ask):
    raw.play(HANG)
    policy = msgspec.structs.replace(QUICK, request_timeout_ms=0, idle_timeout_ms=0)
    await cancel_once_asked(raw, ask(raw.url, policy))
    await raw.hung_up.wait()


async def test_c33_cancel_before_headers(raw, ask):
    raw.play(HANG)
    await cancel_once_asked(raw, ask(raw.url))
    await raw.hung_up.wait()
    assert len(raw.requests) == 1


async def test_c33_cancel_during_back_off(raw, ask, caplog):
    raw.play(reply(503))
    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(ask(raw.url, DELAYED).run())
        await wait_until(lambda: "it is repeated in" in caplog.text)
    await cancelled(task)
    assert len(raw.requests) == 1


async def test_c33_cancel_while_the_body_of_a_refusal_hangs(raw, ask):
    raw.play(b"HTTP/1.1 503 X\r\nContent-Length: 100\r\n\r\nso", HANG)
    await cancel_once_asked(raw, ask(raw.url))
    await raw.hung_up.wait()


async def test_c95_at_most_2_kib_of_a_refusal_are_kept_and_read(raw, ask):
    raw.play(b"HTTP/1.1 400 X\r\nContent-Length: 9000000\r\n\r\n" + "é".encode() * 100_000, HANG)
    with pytest.raises(BackendTransportError) as caught:
        async with asyncio.timeout(20):  # the server would hang for longer
            await ask(raw.url).run()
    assert caught.value.body == "é" * 1024
    await raw.hung_up.wait()


async def test_c95_a_refusal_whose_body_breaks_off_keeps_its_status(raw, ask):
    raw.play(b"HTTP/1.1 401 X\r\nContent-Length: 100\r\n\r\nno", RESET)
    with pytest.raises(BackendTransportError) as caught:
        await ask(raw.url).run()
    assert caught.value.status == 401


async def test_a_redirect_is_not_followed_with_the_key(raw, ask):
    raw.play(reply(307, b"", f"Location: {raw.url}/elsewhere"))
    with pytest.raises(BackendTransportError) as caught:
        await ask(raw.url).run()
    assert (caught.value.status, len(raw.requests)) == (307, 1)


async def test_a_wait_beyond_the_cap_is_not_waited_for_but_told_to_the_caller(raw, ask):
    raw.play(reply(429, b"", "Retry-After: 30"))
    policy = msgspec.structs.replace(QUICK, retry_after_cap_ms=100)
    with pytest.raises(BackendTransportError) as caught:
        await ask(raw.url, policy).run()
    assert (len(raw.requests), caught.value.reason, caught.value.retryable) == (1, "rate_limit", True)
    assert caught.value.retry_after_s == 30


async def test_the_key_is_in_no_repr_no_error_and_no_log(raw, ask, caplog):
    raw.play(reply(500, b"oops"))
    asking = ask(raw.url, msgspec.structs.replace(QUICK, max_attempts=2))
    with caplog.at_level(logging.DEBUG), pytest.raises(BackendTransportError) as caught:
        await asking.run()
    assert "sk-secret" not in f"{asking.backend!r} {caught.value!r} {caught.value.__cause__!r} {caplog.text}"


@pytest.mark.parametrize(
    ("url", "key", "model"),
    [
        ("localhost:8080/v1", None, "m"),
        ("ftp://host/v1", None, "m"),
        ("http://", None, "m"),
        ("http://host:port/v1", None, "m"),
        ("http://host/v1", "sk-é", "m"),
        ("http://host/v1", "sk\nX-Other: 1", "m"),
        ("http://host/v1", None, ""),
    ],
)
def test_settings_that_cannot_work_are_refused_at_start(url, key, model):
    with pytest.raises(SettingsError) as caught:
        OpenAIBackend(url, key, model, QUICK)
    assert key is None or key not in str(caught.value)


async def test_a_given_client_is_left_open(raw):
    raw.play(ANSWER)
    async with httpx.AsyncClient() as client:
        backend = OpenAIBackend(raw.url, None, "m", RetryPolicy(), client=client)
        assert (await Asking(backend).run()).text == "hello"
        await backend.aclose()
        assert not client.is_closed


async def cancel_once_asked(raw, asking):
    task = asyncio.create_task(asking.run())
    await raw.until(lambda: bool(raw.requests))
    await cancelled(task)


async def cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
