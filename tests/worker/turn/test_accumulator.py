"""The answer's text is put together from what a producer yields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.product import text
from turnwire.worker.turn.accumulator import TextAccumulator


def accumulated(*events) -> str:
    accumulator = TextAccumulator()
    for event in events:
        accumulator.add(event["type"], event["data"])
    return accumulator.text


def whole(content: str, part: str = "a") -> dict:
    return {"type": "message.part.updated", "data": {"part": {"type": "text", "id": part, "text": content}}}


def reasoning(delta: str) -> dict:
    return {"type": "message.part.updated", "data": {"part": {"type": "reasoning", "id": "r"}, "delta": delta}}


def result(content) -> dict:
    return {"type": "result", "data": {"finalText": content}}


@pytest.mark.parametrize(
    ("events", "answer"),
    [
        ([], ""),
        ([text("a"), text("b")], "ab"),
        ([text("a1", "a"), text("b1", "b"), text("a2", "a")], "a1a2b1"),
        ([text("a", "x"), reasoning("hm"), text("b", "x")], "ab"),
        ([reasoning("only")], ""),
        ([text("draft", "a"), whole("final", "a")], "final"),
        ([text("draft", "a"), text("b", "b"), whole("final", "a")], "finalb"),
        ([whole("one", "a"), text(" more", "a")], "one more"),
        ([{"type": "message.part.updated", "data": {"delta": "a"}}, text("b")], "ab"),
        ([text("a"), result("whole")], "whole"),
        ([text("a"), result(None)], "a"),
        ([text("a"), result("whole"), text("!")], "whole!"),
        ([{"type": "tool.result", "data": {"delta": "x", "part": {"type": "text"}}}], ""),
    ],
)
def test_c4_w16_the_answer_is_its_text_parts_in_order_of_first_appearance(events, answer):
    assert accumulated(*events) == answer


@pytest.mark.parametrize(
    "data",
    [{}, {"part": None}, {"part": "text"}, {"part": {"type": "text"}}, {"part": {"type": "text"}, "delta": 5},
     {"part": {"type": "text", "text": 5}}, {"part": {"type": ["text"]}, "delta": "x"}],
)  # fmt: skip
def test_malformed_updates_are_not_text(data):
    assert accumulated({"type": "message.part.updated", "data": data}) == ""


def test_a_part_id_that_is_no_text_counts_as_none():
    assert (
        accumulated(
            text("a"), {"type": "message.part.updated", "data": {"part": {"type": "text", "id": 7}, "delta": "b"}}
        )
        == "ab"
    )


PARTS = st.lists(st.tuples(st.sampled_from("abc"), st.text(min_size=1, max_size=8)), max_size=12)


@given(PARTS, st.data())
def test_c4_how_deltas_are_split_does_not_change_the_answer(parts, data):
    split = []
    for part, content in parts:
        cut = data.draw(st.integers(0, len(content)))
        split += [text(piece, part) for piece in (content[:cut], content[cut:]) if piece]
    assert accumulated(*split) == accumulated(*(text(content, part) for part, content in parts))


@given(PARTS)
def test_every_character_of_every_part_is_in_the_answer_once(parts):
    order = dict.fromkeys(part for part, _ in parts)
    expected = "".join("".join(content for name, content in parts if name == part) for part in order)
    assert accumulated(*(text(content, part) for part, content in parts)) == expected
