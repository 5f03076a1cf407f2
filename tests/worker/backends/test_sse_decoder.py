"""The decoder against a whole-text oracle that is written from the standard, over all ways to cut the body."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwire.worker.backends.sse import SseDecoder, SseEvent, SseLimitError


def oracle(body: bytes) -> list[SseEvent]:
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = re.split(r"\r\n|\n|\r", text)[:-1]  # the last piece has no line end
    events: list[SseEvent] = []
    data: list[str] = []
    event_type = last_id = ""
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(SseEvent("\n".join(data), event_type or "message", last_id))
            data, event_type = [], ""
        elif field == "data":
            data.append(value)
        elif field == "event":
            event_type = value
        elif field == "id" and "\0" not in value:
            last_id = value
    return events


def decode(body: bytes, cuts: list[int]) -> list[SseEvent]:
    decoder, start = SseDecoder(), 0
    events: list[SseEvent] = []
    for cut in [*sorted(cuts), len(body)]:
        events += decoder.feed(body[start:cut])
        start = max(start, cut)
    return events


ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
values = st.one_of(
    st.sampled_from(["", " ", "  two", "a:b", "[DONE]", '{"x":"ü€😀"}', "\ufeff", "\0"]).map(str.encode),
    st.binary(max_size=6),
)
names = st.sampled_from([b"data", b"data: ", b"data:", b"event: ", b"id: ", b"retry: ", b": ", b"other: ", b""])
lines = st.builds(lambda name, value, end: name + value + end, names, values, ends)
bodies = st.builds(
    lambda bom, parts: bom + b"".join(parts),
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb"]),
    st.lists(st.one_of(lines, ends), max_size=12),
)


@given(bodies, st.lists(st.integers(0, 120), max_size=12))
def test_any_cut_gives_what_the_whole_text_gives(body, cuts):
    assert decode(body, [min(cut, len(body)) for cut in cuts]) == oracle(body)


@given(bodies)
def test_byte_by_byte(body):
    assert decode(body, list(range(len(body)))) == oracle(body)


def test_comments_ids_types_and_several_data_lines():
    body = b': ping\r\nid: 7\r\nevent: note\r\ndata: a\r\ndata\r\ndata:  b\r\n\r\ndata: "\xe2\x82\xac"\r\r:\n\n'
    assert decode(body, []) == [SseEvent("a\n\n b", "note", "7"), SseEvent('"€"', "message", "7")]


def test_an_event_that_the_end_cuts_off_is_not_dispatched():
    assert decode(b"data: whole\n\ndata: cut\n", []) == [SseEvent("whole")]


def test_retry_makes_no_event():
    assert list(SseDecoder().feed(b"retry: 1500\nretry: 2s\nretry:\n\n")) == []


@pytest.mark.parametrize("piece", [b"data: 0123456789", b"data: 1\n", b": comment 0123456789 0123456789", b"data\n"])
def test_a_flood_without_an_event_end_is_refused_and_memory_stays_bounded(piece):
    decoder = SseDecoder(max_event_bytes=64)

    def flood():
        for _ in range(100):
            list(decoder.feed(piece))
            assert len(decoder._line) + decoder._data_bytes <= 64 + len(piece)

    with pytest.raises(SseLimitError):
        flood()


def test_events_before_the_one_that_is_too_large_are_kept():
    events = SseDecoder(max_event_bytes=16).feed(b"data: ok\n\ndata: 0123456789 0123456789\n\n")
    assert next(events) == SseEvent("ok")
    with pytest.raises(SseLimitError):
        next(events)
