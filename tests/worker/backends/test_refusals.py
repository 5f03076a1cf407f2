"""Responses that are not 2xx: which are asked for again, why the server refused, and what the log has of it."""

import logging

import httpx
import msgspec
import pytest

from tests.worker.backends.asking import QUICK
from tests.worker.backends.chunks import FINISH
from tests.worker.backends.rawserver import HEAD, reply, sse, text
from turnwire.shared.errors import SettingsError
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.backends.quirks import Quirks
from turnwire.worker.backends.reports import refusal_reason
from turnwire.worker.backends.url import completions_url

ANSWER = HEAD + sse(text("hello"), FINISH, "[DONE]")


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 501, 520, 524, 529, 599])
async def test_a_status_that_may_pass_is_asked_again(raw, ask, status):
    raw.play(reply(status))
    raw.play(ANSWER)
    assert (await ask(raw.url).run()).text == "hello"


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (400, [], b'{"error":{"message":"no"}}'),
        (404, [], b""),
        (429, [], b'{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}'),
        (429, ["x-should-retry: false"], b""),
        (500, [], b'{"error":{"message":"the request exceeds the context size"}}'),
        (307, [], b""),
    ],
)
async def test_what_waiting_cannot_mend_is_not_asked_again(raw, ask, status, headers, body):
    raw.play(reply(status, body, *headers))
    with pytest.raises(BackendTransportError) as caught:
        await ask(raw.url).run()
    assert (caught.value.retryable, len(raw.requests)) == (False, 1)


async def test_a_redirect_is_called_one(raw, ask):
    raw.play(reply(308, b"", "Location: https://example.org/v1"))
    with pytest.raises(BackendTransportError, match="a redirect"):
        await ask(raw.url).run()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, b"", "auth"),
        (403, b"<html>forbidden</html>", "auth"),
        (400, b'[{"error":{"status":"INVALID_ARGUMENT","message":"API key not valid"}}]', "auth"),
        (402, b"", "quota"),
        (429, b'{"error":{"code":"insufficient_quota"}}', "quota"),
        (403, b'{"error":{"message":"Insufficient balance"}}', "quota"),
        (429, b"", "rate_limit"),
        (429, b'{"error":{"message":"Rate limit reached for this API key"}}', "rate_limit"),
        (429, b'{"error":{"status":"RESOURCE_EXHAUSTED","message":"You exceeded your current quota"}}', "rate_limit"),
        (413, b'{"error":{"code":"rate_limit_exceeded","type":"tokens"}}', "rate_limit"),
        (400, b'{"error":{"code":"context_length_exceeded"}}', "context_length"),
        (400, b'{"error":{"type":"exceed_context_size_error","code":400}}', "context_length"),
        (400, b'{"object":"error","message":"This model\'s maximum context length is 8192 tokens"}', "context_length"),
        (400, b'{"error":{"message":"prompt is too long: 9 tokens > 8 maximum"}}', "context_length"),
        (404, b'{"error":{"code":"model_not_found"}}', "model_not_found"),
        (404, b'{"object":"error","message":"The model `x` does not exist."}', "model_not_found"),
        (404, b'{"error":{"message":"model \'x\' not found"}}', "model_not_found"),
        (404, b"404 page not found", None),
        (503, b"", "overloaded"),
        (529, b'{"type":"error","error":{"type":"overloaded_error"}}', "overloaded"),
        (503, b'{"error":{"message":"no API key server answers"}}', "overloaded"),
        (400, b'{"error":{"code":"content_filter"}}', "content_filter"),
        (400, b'{"error":{"message":"The response was filtered by our content policy"}}', "content_filter"),
        (400, b'{"error":{"message":"temperature must be at most 2","type":"invalid_request_error"}}', None),
        (500, b"", None),
        (422, b"[" * 3000, None),
    ],
)  # fmt: skip
def test_why_a_server_refused(status, body, reason):
    assert refusal_reason(status, body.decode()) == reason


async def test_the_log_has_the_words_of_the_server_on_one_line_and_without_the_key(raw, ask, caplog):
    raw.play(reply(401, b'{"error":{"message":\n "Incorrect API key: sk-secret"}}'))
    with caplog.at_level(logging.WARNING), pytest.raises(BackendTransportError) as caught:
        await ask(raw.url).run()
    assert caught.value.told_code == "auth"
    [record] = caplog.records
    assert "Incorrect API key: ***" in record.message
    assert "\n" not in record.message
    assert "Incorrect" not in str(caught.value)


async def test_the_log_has_the_cause_of_a_connection_that_failed(unused_tcp_port, ask, caplog):
    policy = msgspec.structs.replace(QUICK, max_attempts=1)
    with caplog.at_level(logging.WARNING), pytest.raises(BackendTransportError):
        await ask(f"https://127.0.0.1:{unused_tcp_port}/v1", policy).run()
    assert "cause: ConnectError: " in caplog.text


@pytest.mark.parametrize("status", [400, 422])
async def test_stream_options_are_left_out_once_a_server_has_refused_them(raw, ask, status):
    raw.play(reply(status, b'{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}'))
    raw.play(ANSWER)
    asking = ask(raw.url, msgspec.structs.replace(QUICK, max_attempts=1))
    await asking.run()
    await asking.run()
    sent = ["stream_options" in msgspec.json.decode(request.body) for request in raw.requests]
    assert sent == [True, False, False]


async def test_a_server_that_repeats_a_request_it_refuses_does_not_refuse_stream_options(raw, ask):
    """Some servers name the whole request in their refusal. One bad turn must not hide the usage of all others."""
    raw.play(reply(422, b'{"detail":[{"msg":"no such tool","input":{"stream_options":{"include_usage":true}}}]}'))
    raw.play(reply(422, b'{"detail":[{"msg":"no such tool","input":{}}]}'))
    raw.play(ANSWER)
    asking = ask(raw.url, msgspec.structs.replace(QUICK, max_attempts=1))
    with pytest.raises(BackendTransportError):
        await asking.run()
    await asking.run()
    sent = ["stream_options" in msgspec.json.decode(request.body) for request in raw.requests]
    assert sent == [True, False, True]


async def test_a_quirk_leaves_stream_options_out(raw):
    raw.play(ANSWER)
    backend = OpenAIBackend(raw.url, None, "tiny", QUICK, quirks=Quirks(stream_options=False))
    assert [event async for event in backend.stream([], idempotency_key="k", on_call=lambda _: None)]
    await backend.aclose()
    assert "stream_options" not in msgspec.json.decode(raw.requests[0].body)


@pytest.mark.parametrize("key", ["Überblick", "two\r\nX-Injected: 1", "\ud83d"])
async def test_any_name_of_a_call_makes_an_idempotency_key(raw, ask, key):
    raw.play(ANSWER)
    asking = ask(raw.url)
    stream = asking.backend.stream([], idempotency_key=key, on_call=asking.calls.append)
    assert [event async for event in stream]
    assert raw.requests[0].headers["idempotency-key"].isascii()
    assert "x-injected" not in raw.requests[0].headers


@pytest.mark.parametrize(
    ("base", "asked"),
    [
        ("http://h/v1", "http://h/v1/chat/completions"),
        ("http://h/v1/", "http://h/v1/chat/completions"),
        ("http://h", "http://h/chat/completions"),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions"),
        ("http://h/v1/chat/completions/?key=a%2Fb", "http://h/v1/chat/completions?key=a%2Fb"),
        ("http://h/a%2Fb/v1?api-version=1", "http://h/a%2Fb/v1/chat/completions?api-version=1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1/chat/completions"),
    ],
)
def test_the_url_that_is_asked(base, asked):
    assert completions_url(base, "sk-1") == httpx.URL(asked)
    assert str(completions_url(base, None)) == asked


def test_a_user_in_the_url_would_replace_the_key():
    with pytest.raises(SettingsError, match="replace the API key") as caught:
        completions_url("http://user:s3cret@h/v1", "sk-1")
    assert "s3cret" not in str(caught.value)
    assert completions_url("http://user:s3cret@h/v1", None).password == "s3cret"


@pytest.mark.parametrize(
    ("name", "value"),
    [("NO_PROXY", "localhost,[::1]"), ("ALL_PROXY", "socks5://h:1"), ("SSL_CERT_FILE", "/nowhere/ca.pem"),
     ("HTTPS_PROXY", "http://user:s3cret@h:port")],
)  # fmt: skip
def test_an_environment_that_no_client_can_be_made_of_is_refused_at_start(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as caught:
        OpenAIBackend("http://h/v1", None, "tiny", QUICK)
    assert "s3cret" not in str(caught.value)
