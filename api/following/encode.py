"""How events look on the wire. Lines are spliced from the log's own bytes; no event is decoded or encoded again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from turnwire.shared.events import Entry

RETRY_MS: Final = 1000  # how long an EventSource waits before it connects again; said within its first message
CHUNK_BYTES: Final = 65_536  # a client that does not read costs about so much memory beside its page


class Latest:
    """The chunk of the latest batch: the readers of a turn get the same one, one right after the other.

    They hold the very same entries. Two batches that share the first and the last, and are as long, are equal: between
    them is what the log, or one attempt's dense publications, have there.
    """

    def __init__(self) -> None:
        self._entries: Sequence[Entry] = ()
        self._chunks: tuple[bytes] = (b"",)

    def get(self, entries: Sequence[Entry]) -> tuple[bytes] | None:
        """The chunk of these entries, if they were the latest."""
        kept = self._entries
        if len(entries) == len(kept) and entries[0] is kept[0] and entries[-1] is kept[-1]:
            return self._chunks
        return None

    def put(self, entries: Sequence[Entry], chunk: bytes) -> tuple[bytes]:
        """Keep this instead."""
        self._entries, self._chunks = entries, (chunk,)
        return self._chunks


class Framing(msgspec.Struct, frozen=True):
    """One wire form of a stream: its media type and how its parts are written."""

    media_type: str
    opening: bytes  # before the first event
    silence: bytes  # while nothing happens
    lines: Callable[[Sequence[Entry]], bytes]  # events of the log, with their cursors
    bare: Callable[[bytes], bytes]  # an event that is not in the log: no id, so that nobody resumes from it
    latest: Latest = msgspec.field(default_factory=Latest)

    def chunks(self, entries: Sequence[Entry]) -> Iterable[bytes]:
        """A batch as it is sent: whole lines, about CHUNK_BYTES at a time, each made when it is due."""
        latest = self.latest.get(entries)
        if latest is not None:
            return latest
        parts = list(_parts(entries))
        if len(parts) > 1:
            return (chunk(self.lines(part)) for part in parts)  # of a replay: every reader has its own place
        return self.latest.put(entries, chunk(self.lines(entries)))

    def answer(self, events: Sequence[bytes]) -> bytes:
        """Events that are in no log, as the body of an answer."""
        return self.opening + b"".join([self.bare(event) for event in events])


def chunk(data: bytes) -> bytes:
    """A chunk of an HTTP/1.1 body; nothing for nothing, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def ndjson_lines(entries: Sequence[Entry]) -> bytes:
    """`{"id":…,"type":…,"data":…}`, one line each."""
    return b"".join([b'{"id":"%b",%b\n' % (entry.id, entry.event[1:]) for entry in entries])


def sse_lines(entries: Sequence[Entry]) -> bytes:
    """`id:`, `event:` and `data:` of each event; the data is the event's JSON, type and all."""
    return b"".join([b"id: %b\n%b" % (entry.id, _sse_block(entry.event)) for entry in entries])


def _parts(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    start = size = 0
    for place, entry in enumerate(entries):
        size += len(entry.event)
        if size > CHUNK_BYTES and place > start:
            yield entries[start:place]
            start, size = place, len(entry.event)
    yield entries[start:]


def event_type(event: bytes) -> bytes:
    """The type as it stands between its quotes in canonical bytes: still JSON-escaped, so never with a line break."""
    return event[len(b'{"type":"') : event.find(b'","data":')]


def _sse_block(event: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event_type(event), event)


def _ndjson_bare(event: bytes) -> bytes:
    return event + b"\n"


NDJSON: Final = Framing("application/x-ndjson", b"", b"\n", ndjson_lines, _ndjson_bare)
SSE: Final = Framing("text/event-stream", b"retry: %d\n" % RETRY_MS, b": \n\n", sse_lines, _sse_block)
