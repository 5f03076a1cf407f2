"""Events are redacted in safe pieces: no pattern slips through between two deltas, and little text is held back."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwire.shared.errors import ProducerError
from turnwire.shared.events import PART_UPDATED, ChatStreamEvent
from turnwire.worker.turn.redaction import MOST_HELD, HeldText, RedactError, Redaction

SECRET = re.compile(r"\b\d{4} \d{4}\b|[a-z]+@[a-z]+\.ex\b")
LONGEST = 32  # characters of the longest secret below
TEXT = {"type": "text"}


def hide(event: ChatStreamEvent) -> ChatStreamEvent:
    data = {
        name: SECRET.sub("[secret]", value) if isinstance(value, str) else value for name, value in event.data.items()
    }
    return ChatStreamEvent(event.type, data)


def delta(text: str, **part: str) -> dict[str, Any]:
    return {"type": PART_UPDATED, "data": {"part": TEXT | part, "delta": text}}


def passed(events: list[Any], redact: Any = hide, tail: int = LONGEST) -> list[ChatStreamEvent]:
    held = HeldText(Redaction(redact, tail))
    return [safe for event in events for safe in held.take(event)] + list(held.rest())


def text_of(events: list[ChatStreamEvent]) -> str:
    return "".join(event.data["delta"] for event in events)


@given(
    words=st.lists(st.sampled_from(["card", "1234 5678", "ada@mail.ex", "a", "12", "\n", "é", "x" * 50]), max_size=30),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=200),
)
def test_a_pattern_is_found_wherever_the_deltas_are_cut(words: list[str], sizes: list[int]):
    text, pieces, start = " ".join(words), [], 0
    for size in sizes:
        pieces.append(text[start : start + size])
        start += size
    pieces.append(text[start:])
    assert text_of(passed([delta(piece) for piece in pieces])) == SECRET.sub("[secret]", text)


def test_no_more_than_the_tail_and_a_word_is_held_back():
    """This is the latency: at 50 tokens of 4 characters a second, 32 characters take 0.16 s."""
    held, received, sent = HeldText(Redaction(hide, LONGEST)), 0, 0
    for number in range(500):
        word = f"w{number % 10} "
        received += len(word)
        sent += sum(len(event.data["delta"]) for event in held.take(delta(word)))
        assert received - sent <= LONGEST + len(word)


def test_another_event_lets_what_is_held_go_on_before_it():
    events = passed([delta("ada@"), {"type": "tool.call", "data": {"name": "mail"}}, delta("mail.ex")])
    assert [event.type for event in events] == [PART_UPDATED, "tool.call", PART_UPDATED]
    events = passed([delta("a", id="1"), delta("b", id="2"), delta("c", id="2")])
    assert [(event.data["part"]["id"], event.data["delta"]) for event in events] == [("1", "a"), ("2", "bc")]


def test_an_event_may_be_withheld():
    assert passed([delta("a"), {"type": "thought", "data": {"x": 1}}], lambda _: None) == []


def test_what_is_not_a_delta_is_redacted_as_a_whole():
    [event] = passed([{"type": "result", "data": {"finalText": "write to ada@mail.ex", "n": 1}}])
    assert event.data == {"finalText": "write to [secret]", "n": 1}
    assert Redaction(hide, 0).final_text("1234 5678") == "[secret]"


def test_a_text_that_can_be_cut_nowhere_does_not_grow_for_ever():
    hides_all = lambda event: ChatStreamEvent(event.type, {"delta": "#"})  # noqa: E731 - never the same in pieces
    held = HeldText(Redaction(hides_all, 10))
    sent = [event for _ in range(MOST_HELD // 1000 + 2) for event in held.take(delta("x" * 1000))]
    assert [event.data["delta"] for event in sent] == ["#"]


def raises(_: ChatStreamEvent) -> None:
    raise ValueError("1234 5678")


@pytest.mark.parametrize("redact", [raises, lambda _: 7, lambda _: {"type": "x"}, lambda _: {"type": "x", "other": 1}])
def test_a_hook_that_fails_says_nothing_of_the_event(redact: Any, caplog: pytest.LogCaptureFixture):
    with pytest.raises(RedactError) as failed:
        passed([delta("1234 5678" * 10)], redact)
    assert "1234" not in f"{failed.value} {failed.value.__cause__} {caplog.text}"


def test_what_is_no_event_is_refused():
    with pytest.raises(ProducerError):
        passed(["text"])
