"""Answers in the forms that real servers give them, which must all be read."""

import gzip

import msgspec
import pytest

from tests.worker.backends.asking import QUICK
from tests.worker.backends.chunks import FINISH, USAGE, delta, finish
from tests.worker.backends.rawserver import HANG, HEAD, reply, sse, text
from turnwire.worker.backends.errors import BackendProtocolError, BackendTruncatedError
from turnwire.worker.backends.quirks import Quirks
from turnwire.worker.backends.surrogates import PairJoiner
from turnwire.worker.backends.thinking import ThinkSplitter

HEL_LO = [text("hel"), text("lo")]
HALVES = (r'{"choices":[{"delta":{"content":"hi \ud83d"}}]}', r'{"choices":[{"delta":{"content":"\ude00!"}}]}')


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(sse(delta(content=[{"type": "text", "text": "hel"}]), text("lo"), FINISH), id="list of parts"),
        pytest.param(
            sse(delta(content=["hel", {"type": "text", "text": "lo"}, {"type": "x"}]), FINISH), id="bare text"
        ),
        pytest.param(sse(text("hello"), {"choices": [{"delta": [], "finish_reason": "stop"}]}), id="PHP's empty list"),
        pytest.param(sse(text("hello"), {"choices": [None, 7]}, FINISH), id="choices that are none"),
        pytest.param(sse(text("hello"), {"choices": [{"delta": {"content": 7}}]}, FINISH), id="content of no type"),
        pytest.param(sse({"choices": [{"index": "0", "delta": {"content": "hello"}}]}, FINISH), id="index as text"),
        pytest.param(sse({"choices": [{"text": "hel"}]}, {"choices": [{"text": "lo"}]}, FINISH), id="text for delta"),
        pytest.param(
            sse('{"choices":[{"delta":{"content":"hello"},"logprobs":[-Infinity,NaN]}]}', FINISH), id="not a number"
        ),
        pytest.param(
            sse(text("hel")) + b"data:\n\ndata: \n\nevent: ping\ndata: \n\n" + sse(text("lo"), FINISH), id="empty"
        ),
        pytest.param(sse(*HEL_LO, "[DONE] "), id="a blank behind the end"),
        pytest.param(sse(*HEL_LO, FINISH) + b'event: done\ndata: "[DONE]"\n\n', id="a quoted end"),
        pytest.param(sse(*HEL_LO, FINISH, "oops", USAGE), id="rubbish behind the finish reason"),
        pytest.param(
            sse(*HEL_LO, {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}),
            id="all of it again",
        ),
        pytest.param(sse(finish("stop", "hel"), finish("stop", "lo"), "[DONE]"), id="a reason in every chunk"),
    ],
)
async def test_forms_of_an_answer(raw, ask, body):
    raw.play(HEAD + body)
    asking = await ask(raw.url).run()
    assert asking.text == "hello"
    assert len(asking.calls) == 1


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "application/octet-stream"])
@pytest.mark.parametrize("is_stream", [True, False])
async def test_the_first_character_tells_a_stream_from_a_document(raw, ask, media_type, is_stream):
    document = msgspec.json.encode({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]})
    body = sse(*HEL_LO, FINISH, "[DONE]") if is_stream else b"\n " + document
    raw.play(reply(200, body, f"Content-Type: {media_type}"))
    assert (await ask(raw.url).run()).text == "hello"


async def test_a_page_is_no_answer_and_the_error_shows_its_beginning(raw, ask):
    raw.play(reply(200, b"\n<!doctype html><body>Sign in to continue</body>", "Content-Type: text/html"))
    with pytest.raises(BackendProtocolError, match="a page") as caught:
        await ask(raw.url).run()
    assert "Sign in" in caught.value.body
    assert (caught.value.retryable, len(raw.requests)) == (False, 1)


async def test_an_encoding_that_was_not_asked_for_is_named(raw, ask):
    raw.play(reply(200, b"\x0b\x02\x80hello\x03", "Content-Encoding: br"))
    with pytest.raises(BackendProtocolError, match="encoded as br"):
        await ask(raw.url).run()


async def test_a_compressed_answer_is_read(raw, ask):
    raw.play(reply(200, gzip.compress(sse(*HEL_LO, FINISH, USAGE, "[DONE]")), "Content-Encoding: gzip"))
    asking = await ask(raw.url).run()
    assert (asking.text, asking.calls[0].tokens_in) == ("hello", 3)


async def test_a_character_cut_into_two_escapes_is_joined(raw, ask):
    raw.play(HEAD + sse(*HALVES, FINISH))
    assert (await ask(raw.url).run()).text == "hi 😀!"


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a\ud83d", "\ude00b"], ["a", "😀b"]),
        (["\ud83d", "", "\ude00"], ["", "", "😀"]),
        (["\ud83d", "x"], ["", "\ufffdx"]),
        (["a\ude00"], ["a\ufffd"]),
        (["a\ud83d"], ["a", "\ufffd"]),
        (["é😀"], ["é😀"]),
    ],
)
def test_halves_of_a_character(pieces, expected):
    joiner = PairJoiner()
    shown = [*(joiner.take(piece) for piece in pieces), joiner.rest()]
    assert [piece for piece in shown if piece] == [piece for piece in expected if piece]


async def test_parts_of_reasoning_are_not_the_answer(raw, ask):
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    raw.play(HEAD + sse(delta(content=[thought]), text("hello"), FINISH))
    asking = await ask(raw.url).run()
    assert (asking.data("reasoning.delta"), asking.text) == ([{"delta": "hm"}], "hello")


async def test_a_large_piece_is_split_into_several_events(raw, ask):
    raw.play(HEAD + sse(delta(reasoning="r" * 40_000), text("é" * 1_500_000), FINISH))
    asking = await ask(raw.url).run()
    assert asking.text == "é" * 1_500_000
    assert max(len(event["data"]["delta"]) for event in asking.events) == 16_384
    assert sum(len(data["delta"]) for data in asking.data("reasoning.delta")) == 40_000


async def test_what_comes_beside_the_text_has_its_own_event_each_time_it_is_new(raw, ask):
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    sources = {"citations": ["https://example.org"]}
    raw.play(HEAD + sse(delta(images=image) | sources, text("hello") | sources, delta(images="x" * 200_000), FINISH))
    asking = await ask(raw.url).run()
    assert asking.data("message.attached") == [sources, {"images": image}]


@pytest.mark.parametrize(
    ("began", "first_token_timeout_ms", "limit_ms"), [(False, 7, 7), (False, None, 5_000), (False, 0, 0), (True, 7, 20)]
)
def test_the_first_piece_has_a_limit_of_its_own(began, first_token_timeout_ms, limit_ms):
    limits = {"idle_timeout_ms": 20, "first_token_timeout_ms": first_token_timeout_ms}
    assert msgspec.structs.replace(QUICK, **limits).silence_ms(began) == limit_ms


async def test_a_role_does_not_end_the_wait_for_the_first_piece(raw, ask):
    raw.play(HEAD, sse(delta(role="assistant", content="")), HANG)
    policy = msgspec.structs.replace(QUICK, idle_timeout_ms=10_000, first_token_timeout_ms=50, max_attempts=2)
    with pytest.raises(BackendTruncatedError, match="nothing for 50 ms"):
        await ask(raw.url, policy).run()
    assert len(raw.requests) == 2


@pytest.mark.parametrize(
    ("think", "reasoning", "text_shown"),
    [("text", "", "<think>a plan</think>\n\nhello"), ("reasoning", "a plan", "hello"), ("hide", "", "hello")],
)
async def test_thoughts_in_tags_are_what_the_quirk_says(raw, ask, think, reasoning, text_shown):
    raw.play(HEAD + sse(text("<thi"), text("nk>a pl"), text("an</think>\n"), text("\nhello"), FINISH))
    asking = ask(raw.url)
    quirks = Quirks(think=think)
    stream = asking.backend.stream([], idempotency_key="k", on_call=asking.calls.append, quirks=quirks)
    asking.events = [event async for event in stream]
    assert asking.text == text_shown
    assert "".join(data["delta"] for data in asking.data("reasoning.delta")) == reasoning


@pytest.mark.parametrize(
    ("whole", "thoughts", "answer"),
    [
        ("<think>a</think>b", "a", "b"),
        ("\n<think>\na</think>\n\n b <think>c</think>", "\na", "b <think>c</think>"),
        ("say <think>a</think>", "", "say <think>a</think>"),
        ("<thin ice", "", "<thin ice"),
        ("<thi", "", "<thi"),
        ("<think>never closed </thi", "never closed </thi", ""),
        ("<think></think>", "", ""),
        ("", "", ""),
    ],
)
def test_tags_may_be_cut_anywhere(whole, thoughts, answer):
    for size in range(1, len(whole) + 1):
        splitter = ThinkSplitter()
        taken = [splitter.take(whole[start : start + size]) for start in range(0, len(whole), size)]
        taken.append(splitter.rest())
        assert ("".join(t for t, _ in taken), "".join(a for _, a in taken)) == (thoughts, answer)
