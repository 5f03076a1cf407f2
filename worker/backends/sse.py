"""Decodes server-sent events from bytes, as the WHATWG HTML standard says. It does no I/O and has no clock."""

from collections.abc import Iterator
from typing import Final

import msgspec

DEFAULT_MAX_EVENT_BYTES: Final = 67_108_864
_BOM: Final = b"\xef\xbb\xbf"


class SseLimitError(ValueError):
    """An event, or a line, is larger than the decoder may hold."""


class SseEvent(msgspec.Struct, frozen=True):
    """One event: its data, its type and the last id that was seen so far."""

    data: str
    type: str = "message"
    id: str = ""


class SseDecoder:
    """Takes the body in pieces. They may be cut anywhere, even inside a character or between CR and LF.

    `max_event_bytes` limits one event together with the line that is being received, and so the memory in use.
    An event that the end of the body cuts off is dropped, as the standard says.
    """

    def __init__(self, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_event_bytes
        self._line = bytearray()  # the beginning of a line that is not complete
        self._first_line = True
        self._after_cr = False
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._type = b""
        self._id = b""

    def feed(self, piece: bytes) -> Iterator[SseEvent]:
        """Yield the events that this piece completes. Take all of them before the next piece is fed.

        Raises:
            SseLimitError: an event became too large. Those before it were yielded. The decoder cannot be used any more.
        """
        for line in self._lines(piece):
            if line:
                self._field(line)
                continue
            event = self._dispatch()
            if event:
                yield event

    def _lines(self, piece: bytes) -> Iterator[bytes]:
        if self._after_cr and piece:
            piece = piece.removeprefix(b"\n")  # a CR ended the last line already; this LF belongs to it
            self._after_cr = False
        if not piece:
            return
        lines = piece.splitlines()  # for bytes: at LF, CR and CRLF, nowhere else
        self._after_cr = piece.endswith(b"\r")
        rest = b"" if piece.endswith((b"\n", b"\r")) else lines.pop()
        for line in lines:
            yield self._completed(line)
        self._check(len(self._line) + len(rest))
        self._line += rest

    def _completed(self, line: bytes) -> bytes:
        self._check(len(self._line) + len(line))
        if self._line:
            line = bytes(self._line + line)
            self._line.clear()
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        return line

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")  # a comment has an empty name
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
        elif name == b"event":
            self._type = value
        elif name == b"id" and b"\0" not in value:
            self._id = value

    def _dispatch(self) -> SseEvent | None:
        data, self._data, self._data_bytes = self._data, [], 0
        event_type, self._type = self._type, b""
        if not data:
            return None
        # An LF never continues a UTF-8 character, so decoding line by line equals decoding the whole body.
        return SseEvent(_text(b"\n".join(data)), _text(event_type) or "message", _text(self._id))

    def _check(self, line_bytes: int) -> None:
        if self._data_bytes + line_bytes > self._max_bytes:
            self._line.clear()
            self._data.clear()
            raise SseLimitError(f"an event is larger than {self._max_bytes} bytes")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
