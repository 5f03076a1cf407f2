"""How events look on the wire. Lines are spliced from the log's own bytes; no event is decoded or encoded again."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from shared.events import Entry

RETRY_MS: Final = 1000  # how long an EventSource waits before it connects again


class Framing(msgspec.Struct, frozen=True):
    """One wire form of a stream: its media type and how its parts are written."""

    media_type: str
    opening: bytes  # before the first event
    silence: bytes  # while nothing happens
    lines: Callable[[Sequence[Entry]], bytes]  # events of the log, with their cursors
    bare: Callable[[bytes], bytes]  # an event that is not in the log: no id, so that nobody resumes from it


def ndjson_lines(entries: Sequence[Entry]) -> bytes:
    """`{"id":…,"type":…,"data":…}`, one line each."""
    return b"".join([b'{"id":"%b",%b\n' % (entry.id, entry.event[1:]) for entry in entries])


def sse_lines(entries: Sequence[Entry]) -> bytes:
    """`id:`, `event:` and `data:` of each event; the data is the event's JSON, type and all."""
    return b"".join([b"id: %b\n%b" % (entry.id, _sse_block(entry.event)) for entry in entries])


def event_type(event: bytes) -> bytes:
    """The type as it stands between its quotes in canonical bytes: still JSON-escaped, so never with a line break."""
    return event[len(b'{"type":"') : event.find(b'","data":')]


def _sse_block(event: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event_type(event), event)


def _ndjson_bare(event: bytes) -> bytes:
    return event + b"\n"


NDJSON: Final = Framing("application/x-ndjson", b"", b"\n", ndjson_lines, _ndjson_bare)
SSE: Final = Framing("text/event-stream", b"retry: %d\n\n" % RETRY_MS, b": \n\n", sse_lines, _sse_block)
