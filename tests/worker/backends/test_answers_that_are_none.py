"""What servers send with status 200 and is no answer: it must never be kept as one."""

import pytest

from tests.worker.backends.asking import QUICK
from tests.worker.backends.chunks import FINISH, delta, finish
from tests.worker.backends.rawserver import HEAD, RESET, reply, sse, text
from turnwire.backends import OpenAIBackend, OpenAIHooks
from turnwire.worker.backends.errors import (
    BackendProtocolError,
    BackendReportedError,
    BackendTransportError,
    BackendTruncatedError,
)

ANSWER = HEAD + sse(text("hello"), FINISH, "[DONE]")


@pytest.mark.parametrize(
    ("body", "error", "reason", "retryable"),
    [
        (sse("[DONE]"), BackendProtocolError, None, True),
        (sse({"response": "hel"}, {"response": "lo"}, "[DONE]"), BackendProtocolError, None, False),
        (
            sse({"choices": None, "base_resp": {"status_msg": "insufficient balance"}}),
            BackendProtocolError,
            "quota",
            False,
        ),
        (sse({"choices": []}, "[DONE]"), BackendProtocolError, None, False),
        (
            sse({"object": "error", "message": "the maximum context length is 4096 tokens", "code": 400}, "[DONE]"),
            BackendReportedError,
            "context_length",
            False,
        ),
        (sse({"success": False, "errors": [{"message": "no"}]}), BackendReportedError, None, True),
        (sse({"error": "input too long", "error_type": "validation"}), BackendReportedError, None, False),
        (sse({"error": {"type": "authentication_error"}}), BackendReportedError, "auth", False),
        (sse({"error": {"type": "permission_error"}}), BackendReportedError, "auth", False),
        (sse({"error": {"type": "not_found_error"}}), BackendReportedError, None, False),
        (sse({"error": {"type": "request_too_large"}}), BackendReportedError, None, False),
        (sse({"error": {"code": "insufficient_quota"}}), BackendReportedError, "quota", False),
        (sse({"type": "error", "error": {"type": "overloaded_error"}}), BackendReportedError, "overloaded", True),
        (sse({"choices": [{"error": {"code": 502}, "delta": {"content": ""}}]}), BackendReportedError, None, True),
        (sse(finish("content_filter")), BackendReportedError, "content_filter", False),
        (sse(finish("content_filter: PROHIBITED_CONTENT")), BackendReportedError, "content_filter", False),
        (sse(finish("SAFETY")), BackendReportedError, "content_filter", False),
        (sse(finish("sensitive")), BackendReportedError, "content_filter", False),
        (sse(finish("guardrail_intervened")), BackendReportedError, "content_filter", False),
        (sse(finish("refusal")), BackendReportedError, "content_filter", False),
        (sse(finish("OTHER")), BackendReportedError, None, True),
    ],
)
async def test_a_stream_without_an_answer(raw, ask, body, error, reason, retryable):
    raw.play(HEAD + body)
    asking = ask(raw.url)
    with pytest.raises(error) as caught:
        await asking.run()
    assert (caught.value.reason, caught.value.retryable) == (reason, retryable)
    assert len(raw.requests) == (5 if retryable else 1)
    assert len(asking.calls) == 1


@pytest.mark.parametrize("reason", ["stop", "length", "MAX_TOKENS", "end_turn", "eos_token", "COMPLETE", "tool_calls"])
async def test_an_answer_may_be_empty_if_its_reason_is_a_proper_end(raw, ask, reason):
    raw.play(HEAD + sse(finish(reason), "[DONE]"))
    asking = await ask(raw.url).run()
    assert (asking.events, asking.calls[0].finish_reason) == ([], reason)


@pytest.mark.parametrize(
    "document", [b'{"detail":"Not authenticated"}', b'[{"error":{"code":401}}]', b'{"choices":[]}']
)
async def test_a_document_without_an_answer(raw, ask, document):
    raw.play(reply(200, document, "Content-Type: application/json"))
    with pytest.raises(BackendProtocolError) as caught:
        await ask(raw.url).run()
    assert caught.value.body.encode() == document


@pytest.mark.parametrize(
    "reason",
    ["error", "abort", "insufficient_system_resource", "network_error", "MALFORMED_FUNCTION_CALL", "cancelled"],
)
async def test_a_reason_that_says_that_the_answer_broke_off(raw, ask, reason):
    raw.play(HEAD + sse(text("hel"), finish(reason), "[DONE]"))
    asking = ask(raw.url)
    with pytest.raises(BackendReportedError) as caught:
        await asking.run()
    assert (asking.text, caught.value.retryable, len(raw.requests)) == ("hel", True, 1)


@pytest.mark.parametrize(
    "reason", ["stop", "length", "eos", "end_turn", "max_tokens", "STOP", "stop_sequence", "other"]
)
async def test_a_reason_that_ends_an_answer(raw, ask, reason):
    raw.play(HEAD, sse(text("hello"), finish(reason)), RESET)
    asking = await ask(raw.url).run()
    assert (asking.text, asking.calls[0].finish_reason) == ("hello", reason)


@pytest.mark.parametrize("reason", ["null", "", "None", 7])
async def test_a_reason_that_is_none_ends_nothing(raw, ask, reason):
    raw.play(HEAD, sse({"choices": [{"delta": {"content": "hel"}, "finish_reason": reason}]}), RESET)
    with pytest.raises(BackendTruncatedError):
        await ask(raw.url).run()


async def test_a_reason_in_every_chunk_counts_only_at_the_end_of_the_body(raw, ask):
    chunks = sse(finish("stop", "The contract is "), finish("stop", "valid only if "))
    raw.play(HEAD, chunks, RESET)
    with pytest.raises(BackendTruncatedError):
        await ask(raw.url).run()
    raw.play(HEAD, chunks)
    assert (await ask(raw.url).run()).text == "The contract is valid only if "


@pytest.mark.parametrize(
    "first",
    [
        [HEAD + sse({"error": {"code": 503, "message": "busy"}})],
        [HEAD + sse(delta(role="assistant", content="")), RESET],
        [HEAD + sse(delta(role="assistant", content=""))],
        [HEAD + sse("[DONE]")],
        [reply(200, b"upstream connect error", "Content-Type: text/plain")],
    ],
)
async def test_a_response_that_fails_before_its_first_piece_is_asked_for_again(raw, ask, first):
    raw.play(*first)
    raw.play(ANSWER)
    asking = await ask(raw.url).run()
    assert (asking.text, len(raw.requests), len(asking.calls)) == ("hello", 2, 1)


async def test_nothing_is_asked_again_after_reasoning(raw, ask):
    raw.play(HEAD + sse(delta(reasoning_content="hm")), RESET)
    with pytest.raises(BackendTransportError):
        await ask(raw.url).run()
    assert len(raw.requests) == 1


async def test_an_answer_without_text_is_an_answer(raw, ask):
    raw.play(HEAD + sse(delta(reasoning_content="hm"), FINISH))
    asking = await ask(raw.url).run()
    assert (asking.text, asking.calls[0].finish_reason) == ("", "stop")


async def test_a_turn_without_an_answer_keeps_nothing_and_can_be_asked_again(raw, twice):
    raw.play(reply(200, b'{"detail":"Not authenticated"}', "Content-Type: application/json"))
    raw.play(HEAD + sse(text("All of it.", "stop"), "[DONE]"))
    hooks = OpenAIHooks(OpenAIBackend(raw.url, "sk", "m", QUICK))
    first, second = await twice(hooks)
    await hooks.aclose()
    assert (first.status, first.final_text, first.error.code) == ("failed", None, "auth")
    assert (second.status, second.final_text) == ("completed", "All of it.")
