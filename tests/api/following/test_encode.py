"""The two wire forms, byte by byte."""

import msgspec
import pytest

from turnwire.api.following.encode import NDJSON, SSE, event_type
from turnwire.shared.events import Entry, encode_event

ENTRIES = [
    Entry(b"1-0", encode_event("session.run.started", {"attempt": 1})),
    Entry(b"12-34", encode_event("message.part.updated", {"delta": "a\nb\u2028\u00e9"})),
]


def test_ndjson_is_one_object_a_line_with_its_cursor_first():
    lines = NDJSON.lines(ENTRIES)
    assert lines.startswith(b'{"id":"1-0","type":"session.run.started","data":{"attempt":1}}\n')
    assert lines.count(b"\n") == 2
    assert [msgspec.json.decode(line)["id"] for line in lines.splitlines()] == ["1-0", "12-34"]


def test_sse_has_id_event_and_the_whole_event_as_data():
    assert SSE.lines(ENTRIES[:1]) == (
        b'id: 1-0\nevent: session.run.started\ndata: {"type":"session.run.started","data":{"attempt":1}}\n\n'
    )
    assert SSE.opening == b"retry: 1000\n"  # part of the first message: alone it would be an empty one
    assert SSE.silence.startswith(b":")


def test_an_event_outside_the_log_has_no_cursor():
    event = ENTRIES[0].event
    assert NDJSON.bare(event) == event + b"\n"
    assert b"id:" not in SSE.bare(event)


@pytest.mark.parametrize("name", ["error", 'a","data":"b', "a\nb\r", "\u00e9", ""])
def test_no_type_can_forge_a_line(name: str):
    event = encode_event(name, {"x": '","data":'})
    found = event_type(event)
    assert msgspec.json.decode(b'"' + found + b'"') == name
    assert b"\n" not in found
    assert b"\r" not in found
