"""An answer that broke off goes on: the model is asked for the rest, and the client drops nothing."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.backends.asking import QUICK, Asking
from tests.worker.backends.chunks import FINISH, delta, tool
from tests.worker.backends.rawserver import HANG, HEAD, RESET, reply, sse, text
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import ModelCall
from turnwire.testing import run_turn
from turnwire.worker.backends.answer import text_delta
from turnwire.worker.backends.continuation import Progress, healed
from turnwire.worker.backends.errors import BackendTransportError, BackendTruncatedError
from turnwire.worker.backends.openai import OpenAIBackend
from turnwire.worker.backends.openai_hooks import OpenAIHooks
from turnwire.worker.backends.quirks import Quirks
from turnwire.worker.turn.accumulator import TextAccumulator

SAID = "The contract is valid only if it wa"
BROKEN = [HEAD, sse(text("The contract is "), text("valid only if it wa")), RESET]
BEGUN = [ChatStreamEvent(**text_delta(SAID))]
REQUEST: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


def accumulated(events: list[dict[str, Any]]) -> str:
    answer = TextAccumulator()
    for event in events:
        answer.add(event["type"], event["data"])
    return answer.text


@pytest.fixture
async def go_on(raw):
    """Asks once with a backend that lets answers go on."""
    made: list[OpenAIBackend] = []

    async def run(mode: Any = "prefill", begun: Any = (), **options: Any) -> Asking:
        if not made:
            made.append(OpenAIBackend(raw.url, None, "tiny", QUICK, quirks=Quirks(continues=mode)))
        asking = Asking(made[0])
        stream = asking.backend.stream(
            [{"role": "user", "content": "q"}], options=options, idempotency_key="k", on_call=asking.calls.append,
            begun=begun,
        )  # fmt: skip
        asking.events = [event async for event in stream]
        return asking

    yield run
    for backend in made:
        await backend.aclose()


@pytest.mark.parametrize(
    ("mode", "extra"),
    [
        ("prefill", {}),
        ("flags", {"continue_final_message": True, "add_generation_prompt": False}),
        ("prefix", {}),
    ],
)
async def test_the_model_says_only_the_rest(raw, go_on, mode, extra):
    raw.play(*BROKEN)
    raw.play(HEAD + sse(text(" wa"), text("s signed."), FINISH, "[DONE]"))
    asking = await go_on(mode, max_tokens=100)
    assert accumulated(asking.events) == "The contract is valid only if it was signed."
    assert [event["data"]["delta"] for event in asking.events] == [
        "The contract is ",
        "valid only if it wa",
        "s signed.",
    ]
    first, second = (msgspec.json.decode(request.body) for request in raw.requests)
    said = {"role": "assistant", "content": "The contract is valid only if it"}
    assert second["messages"] == [*first["messages"], said | ({"prefix": True} if mode == "prefix" else {})]
    assert {name: second[name] for name in extra} == extra
    assert second["max_tokens"] == 100 - len(["The contract is ", "valid only if it wa"])
    assert [request.headers["idempotency-key"] for request in raw.requests] == ["k", "k/rest-1"]
    assert asking.calls == [ModelCall("tiny", partial=True), ModelCall("tiny", finish_reason="stop")]


@pytest.mark.parametrize(
    ("rest", "answer", "starts_over"),
    [
        ([" was signed."], "The contract is valid only if it was signed.", False),
        (["was signed."], "The contract is valid only if it was signed.", False),
        ([" has ", "a date."], "The contract is valid only if it has a date.", False),
        ([" w"], "The contract is valid only if it w", False),
        (["The contract is valid ", "only if it was signed."], "The contract is valid only if it was signed.", True),
        (["The contract is valid only wh", "en signed."], "The contract is valid only when signed.", True),
        (["The contract is valid only if it", " was signed."], "The contract is valid only if it was signed.", False),
        (["The contract is valid only if it", " has a date."], "The contract is valid only if it has a date.", False),
        (["The contract", " is void."], "The contract is valid only if itThe contract is void.", False),
    ],
)
async def test_whatever_the_server_sends_the_client_has_one_answer(raw, go_on, rest, answer, starts_over):
    raw.play(*BROKEN)
    raw.play(HEAD + sse(*map(text, rest), FINISH, "[DONE]"))
    asking = await go_on()
    assert accumulated(asking.events) == answer
    assert (asking.backend._learned.cannot_continue == {"tiny"}) is starts_over


async def test_an_answer_may_break_off_more_than_once(raw, go_on):
    raw.play(*BROKEN)
    raw.play(HEAD, sse(text(" was signed by bo")), RESET)
    raw.play(HEAD, sse(delta(role="assistant")), RESET)
    raw.play(HEAD + sse(text(" both."), FINISH, "[DONE]"))
    asking = await go_on()
    assert accumulated(asking.events) == "The contract is valid only if it was signed by both."
    assert len(asking.calls) == 3
    assert [request.headers["idempotency-key"] for request in raw.requests] == ["k", "k/rest-1", "k/rest-2", "k/rest-2"]


async def test_a_server_that_refuses_is_asked_anew_and_not_again(raw, go_on):
    raw.play(*BROKEN)
    raw.play(reply(400, b'{"error":{"message":"This model does not support assistant message prefill"}}'))
    raw.play(HEAD + sse(text("The contract is valid only if it was "), text("signed."), FINISH, "[DONE]"))
    raw.play(*BROKEN)
    asking = await go_on()
    assert accumulated(asking.events) == "The contract is valid only if it was signed."
    with pytest.raises(BackendTruncatedError):
        await go_on()
    assert len(raw.requests) == 4


async def test_a_server_that_refuses_everything_may_be_asked_for_a_rest_again(raw, go_on):
    for _ in range(2):  # the rest, and the whole
        raw.play(reply(404, b'{"error":{"message":"a new version is being loaded"}}'))
    raw.play(HEAD + sse(text(" was signed."), FINISH, "[DONE]"))
    with pytest.raises(BackendTransportError):
        await go_on(begun=BEGUN)
    asking = await go_on(begun=BEGUN)
    assert accumulated(asking.events) == "The contract is valid only if it was signed."
    assert len(raw.requests) == 3


@pytest.mark.parametrize(
    ("chunks", "options"),
    [
        ([delta(reasoning_content="hm"), text(SAID)], {}),
        ([text(SAID), tool(index=0, id="a", function={"name": "f"})], {}),
        ([text("Contr")], {}),
        ([text(SAID)], {"response_format": {"type": "json_object"}}),
        ([text(SAID)], {"stop": ["x"]}),
        ([text(SAID)], {"max_tokens": 20}),
    ],
)
async def test_an_answer_that_cannot_safely_go_on_fails(raw, go_on, chunks, options):
    raw.play(HEAD, sse(*chunks), RESET)
    with pytest.raises(BackendTruncatedError):
        await go_on(**options)
    assert len(raw.requests) == 1


@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        ([SAID] * 3, 3),
        (list(SAID), 8),
        ([SAID[start : start + 3] for start in range(0, len(SAID), 3)], 8),
        (["1", ".", " The", " sea", ".", " 2", ".", " It", " is"], 9),
        ([SAID[:2], SAID[2:]], 2),
        (list("1. 2. 3. 4. 5. 6. "), 18),
    ],
)
def test_the_limit_counts_deltas_unless_they_are_pieces_of_one_length(said, tokens):
    progress = Progress()
    for piece in said:
        progress.take(text_delta(piece))
    rest = progress.go_on(REQUEST | {"max_tokens": 100}, "prefill")
    assert rest is not None
    assert rest["max_tokens"] == 100 - tokens


def test_parts_of_a_message_and_tools_beside_a_prefix_are_not_safe():
    cases: list[tuple[dict[str, Any], Any]] = [
        (REQUEST | {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}]}, "prefill"),
        (REQUEST | {"tools": [{}]}, "prefix"),
    ]
    for request, mode in cases:
        assert Progress(SAID).go_on(request, mode) is None
    assert Progress(SAID).go_on(REQUEST | {"tools": [{}]}, "prefill") is not None


async def test_another_attempt_goes_on_where_the_dead_one_broke_off(raw, go_on):
    raw.play(HEAD + sse(text(" was signed."), FINISH, "[DONE]"))
    asking = await go_on(begun=BEGUN)
    assert accumulated(asking.events) == "The contract is valid only if it was signed."
    assert asking.events == [text_delta(SAID), text_delta("s signed.")]
    assert raw.requests[0].headers["idempotency-key"] == "k"


@pytest.mark.parametrize(("mode", "options"), [("off", {}), ("prefill", {"stop": "x"})])
async def test_without_a_safe_way_another_attempt_asks_anew(raw, go_on, mode, options):
    raw.play(HEAD + sse(text("All of it."), FINISH, "[DONE]"))
    asking = await go_on(mode, begun=BEGUN, **options)
    assert accumulated(asking.events) == "All of it."
    assert len(msgspec.json.decode(raw.requests[0].body)["messages"]) == 1


@pytest.mark.parametrize(
    ("first", "asked_for_rest"),
    [([text("The contract is "), text("valid only if it wa")], True), ([delta(reasoning="hm"), text(SAID)], False)],
)
async def test_after_the_death_of_its_worker_a_turn_goes_on_in_another_one(raw, first, asked_for_rest):
    raw.play(HEAD, sse(*first), HANG)
    raw.play(HEAD + sse(text(" was signed."), FINISH, "[DONE]"))
    backend = OpenAIBackend(raw.url, None, "tiny", QUICK, quirks=Quirks(continues="prefill"))
    run = await run_turn(OpenAIHooks(backend), "q", crash_after="append")
    await backend.aclose()
    assert run.status == "completed"
    asked = [msgspec.json.decode(request.body)["messages"] for request in raw.requests]
    said = [{"role": "assistant", "content": "The contract is valid only if it"}] if asked_for_rest else []
    assert asked[1] == [{"role": "user", "content": "q"}, *said]
    assert run.final_text == ("The contract is valid only if it was signed." if asked_for_rest else " was signed.")
    resumed = next(event.data for event in run.events if event.type == "session.run.resumed")
    if asked_for_rest:
        assert resumed == {"attempt": 2, "after": "1-2", "reason": "lease_expired"}, "the client drops nothing"
    else:
        assert (resumed["after"], resumed["reason"]) == ("1-0", "diverged"), "the new answer replaces the old one"
    assert [event.seq for event in run.events] == list(range(len(run.events)))


async def test_a_refusal_before_the_beginning_was_shown_leaves_no_trace(raw, go_on):
    raw.play(reply(400))
    raw.play(HEAD + sse(text("All of it."), FINISH, "[DONE]"))
    asking = await go_on(begun=BEGUN)
    assert asking.events == [text_delta("All of it.")]


async def test_an_answer_with_hidden_thoughts_does_not_go_on(raw, ask):
    raw.play(HEAD, sse(text("<think>hm</think>"), text(SAID)), RESET)
    asking = ask(raw.url)
    quirks = Quirks(continues="prefill", think="hide")
    with pytest.raises(BackendTruncatedError):
        async for _ in asking.backend.stream([], idempotency_key="k", on_call=asking.calls.append, quirks=quirks):
            pass
    assert len(raw.requests) == 1


async def test_the_first_request_that_fails_for_good_tells_why(raw, go_on):
    raw.play(*BROKEN)
    raw.play(reply(401))
    with pytest.raises(BackendTransportError) as caught:
        await go_on()
    assert caught.value.reason == "auth"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("It is valid on", "It is valid"),
        ("It is valid ", "It is valid"),
        ("It is valid.\n\n", "It is valid."),
        ("Contr", ""),
        (" ", ""),
        ("", ""),
        ("a " + "契" * 300, "a " + "契" * 300),
    ],
)
def test_an_answer_is_cut_back_to_a_whole_word(said, kept):
    assert healed(said) == kept


@given(answer=st.text("ab \n", min_size=1), cut=st.integers(0, 40), sizes=st.lists(st.integers(1, 5), min_size=1))
def test_a_rest_in_any_pieces_makes_the_same_answer(answer, cut, sizes):
    shown = answer[:cut]
    progress = Progress(shown)
    if progress.go_on(REQUEST, "prefill") is None:
        return
    rest, events, position = answer[len(healed(shown)) :], [text_delta(shown)], 0
    while rest:
        size = sizes[position % len(sizes)]
        events += progress.take(text_delta(rest[:size]))
        rest, position = rest[size:], position + 1
    events += progress.end()
    if not progress.started_over:  # an answer that repeats itself cannot be told from one that starts over
        assert accumulated(events) == answer
