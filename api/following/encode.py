"""Writes events as NDJSON or SSE. It copies the log's own bytes; no event is decoded or encoded again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from turnwire.shared.events import Entry

RETRY_MS: Final = 1000  # how long an EventSource waits before it connects again; part of its first message
CHUNK_BYTES: Final = 65_536  # a client that does not read costs about this much memory in addition to its page


_SEPARATORS: Final = [
    (raw[0], raw[-1], raw, b"\\u%04x" % ord(raw.decode())) for raw in (b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xc2\x85")
]


class Framing(msgspec.Struct, frozen=True):
    """One form of a stream on the wire: its media type, and the way in which its parts are written."""

    media_type: str
    opening: bytes  # sent before the first event
    silence: bytes  # sent as a sign of life while nothing happens
    lines: Callable[[Sequence[Entry]], bytes]  # writes events of the log with their cursors
    bare: Callable[[bytes], bytes]  # writes an event that is in no log; without a cursor, so that nobody resumes there

    def answer(self, events: Sequence[bytes]) -> bytes:
        """Events that are in no log, as the body of an answer."""
        return self.opening + _one_line_each(b"".join([self.bare(event) for event in events]))


class Encoder:
    """Writes batches in one framing, and remembers the latest one.

    The readers of a turn are served one right after the other with the same batch, so all but the first get the bytes
    that were made for the first.
    """

    __slots__ = ("_chunks", "_entries", "framing")

    def __init__(self, framing: Framing) -> None:
        self.framing = framing
        self._entries: Sequence[Entry] = ()
        self._chunks: tuple[bytes] = (b"",)

    def chunks(self, entries: Sequence[Entry]) -> Iterable[bytes]:
        """Return a batch, which must not be empty, as chunks of whole lines, about CHUNK_BYTES each.

        The chunks of a long batch are made one by one, when they are due.
        """
        if self._is_latest(entries):
            return self._chunks
        parts = list(_parts(entries))
        if len(parts) > 1:
            return (chunk(self.framing.lines(part)) for part in parts)  # a replay, which no other reader shares
        self._entries, self._chunks = entries, (chunk(self.framing.lines(entries)),)
        return self._chunks

    def _is_latest(self, entries: Sequence[Entry]) -> bool:
        """Return whether these are the entries of the latest batch. The first and the last object tell it.

        Each reader has a list of its own, but the readers of a turn share the Entry objects. A batch is a run of
        consecutive events; so two batches with the same first object, the same last object and the same length hold
        the same events, and the others need not be compared. Entries of another turn are other objects.
        """
        latest = self._entries
        return len(entries) == len(latest) and entries[0] is latest[0] and entries[-1] is latest[-1]


def chunk(data: bytes) -> bytes:
    """Return a chunk of an HTTP/1.1 body. No data gives no bytes, because an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def ndjson_lines(entries: Sequence[Entry]) -> bytes:
    """`{"id":…,"type":…,"data":…}`, one line each."""
    return _one_line_each(b"".join([b'{"id":"%b",%b\n' % (entry.id, entry.event[1:]) for entry in entries]))


def sse_lines(entries: Sequence[Entry]) -> bytes:
    """`id:`, `event:` and `data:` of each event; `data` is the event's whole JSON, with its type."""
    return _one_line_each(b"".join([b"id: %b\n%b" % (entry.id, _sse_block(entry.event)) for entry in entries]))


def sse_data_lines(entries: Sequence[Entry]) -> bytes:
    """`id:` and `data:` of each event. Without `event:`, every event is a plain message to an EventSource."""
    return _one_line_each(b"".join([b"id: %b\ndata: %b\n\n" % (entry.id, entry.event) for entry in entries]))


def _one_line_each(lines: bytes) -> bytes:
    """The same JSON without the characters that some clients, though not JSON, take for the end of a line.

    Python's `str.splitlines` does, and so does httpx. Such a character can only be inside a JSON string.
    """
    if not lines.isascii():
        for first, last, character, escaped in _SEPARATORS:
            if first in lines and last in lines:  # to look for a byte is twenty times as fast as for two
                lines = lines.replace(character, escaped)
    return lines


def _parts(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    start = size = 0
    for place, entry in enumerate(entries):
        size += len(entry.event)
        if size > CHUNK_BYTES and place > start:
            yield entries[start:place]
            start, size = place, len(entry.event)
    yield entries[start:]


def event_type(event: bytes) -> bytes:
    """Return an event's type as it stands in its canonical bytes: escaped as in JSON, so it holds no line break."""
    return event[len(b'{"type":"') : event.find(b'","data":')]


def _sse_block(event: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event_type(event), event)


def _ndjson_bare(event: bytes) -> bytes:
    return event + b"\n"


NDJSON: Final = Framing("application/x-ndjson", b"", b"\n", ndjson_lines, _ndjson_bare)
SSE: Final = Framing("text/event-stream", b"retry: %d\n" % RETRY_MS, b": \n\n", sse_lines, _sse_block)
SSE_DATA: Final = Framing(
    SSE.media_type, SSE.opening, SSE.silence, sse_data_lines, lambda event: b"data: %b\n\n" % event
)
