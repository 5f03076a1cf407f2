"""What is left out of a conversation that does not fit: whole turns, the oldest first, and as few as possible."""

from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from turnwire.worker.backends.fitting import estimate, fit, room

ROUNDS = st.lists(st.sampled_from(["answer", "tool", "two tools"]), max_size=3)
TEXTS = st.text(max_size=40)


def turn_of(number: int, rounds: list[str], text: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"{number}: {text}"}]
    for position, kind in enumerate(rounds):
        ids = {"answer": [], "tool": ["a"], "two tools": ["a", "b"]}[kind]
        calls = [
            {"id": f"{number}-{position}-{name}", "type": "function", "function": {"name": "f", "arguments": text}}
            for name in ids
        ]
        answer: dict[str, Any] = {"role": "assistant", "content": text}
        messages.append(answer | {"content": None, "tool_calls": calls} if calls else answer)
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": text} for call in calls]
    return messages


CONVERSATIONS = st.lists(st.tuples(ROUNDS, TEXTS), min_size=1, max_size=6).map(
    lambda turns: [turn_of(number, *turn) for number, turn in enumerate(turns)]
)


@given(CONVERSATIONS, st.booleans(), st.integers(0, 400))
def test_the_latest_whole_turns_stay_as_many_as_fit(turns, has_system, room_tokens):
    system = [{"role": "system", "content": "be kind"}] if has_system else []
    fitted = fit([*system, *chain(*turns)], room_tokens)
    dropped = fitted.dropped_turns
    assert fitted.messages == [*system, *chain(*turns[dropped:])]
    assert dropped < len(turns), "the question itself always stays"
    assert estimate(fitted.messages) <= room_tokens or dropped == len(turns) - 1
    if dropped:
        assert estimate([*system, *chain(*turns[dropped - 1 :])]) > room_tokens, "one more would have fitted"
    called = [call["id"] for message in fitted.messages for call in message.get("tool_calls", [])]
    assert called == [message["tool_call_id"] for message in fitted.messages if message["role"] == "tool"]


def test_messages_without_a_user_stay_as_they_are():
    messages = [{"role": "assistant", "content": "x" * 100}]
    assert fit(messages, 1) == (messages, 0)


def test_the_estimate_counts_bytes_messages_and_parts():
    assert estimate([{"role": "user", "content": "abcd"}]) == 4 + 2
    assert estimate([{"role": "user", "content": "日本"}]) == 4 + 2
    assert estimate([{"role": "user", "content": "\ud83d"}]) == 4 + 1, "half a surrogate pair is counted, too"
    assert estimate([{"role": "user", "content": "🎉 ok"}]) == 4 + 3 + 1
    assert estimate([{"role": "user", "content": "key: " + "A" * 100}]) == 4 + 77
    parts = [{"type": "text", "text": "abc"}, {"type": "image_url", "image_url": {"url": "data:" + "A" * 9_000_000}}]
    assert estimate([{"role": "user", "content": parts}]) == 4 + 1 + 1000
    assert estimate([{"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}]) == 4 + 4


def test_the_room_leaves_a_place_for_the_answer():
    assert room(1000, {}) == 750
    assert room(1000, {"max_tokens": 100}) == 900
    assert room(1000, {"max_completion_tokens": 200, "max_tokens": 100}) == 800
    assert room(1000, {"max_tokens": 5000}) == 0
    assert room(1000, {"max_tokens": "many"}) == room(1000, {"max_tokens": 0}) == 750
