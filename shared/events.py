"""The events of a turn and their places in its log.

An event is encoded once, here, in canonical form: `{"type":…,"data":{…}}`, type first. From then on its bytes are
copied and compared, but never decoded and encoded again. docs/events.md lists the types and their data.
"""

from typing import Any, Final, Self

import msgspec

from turnwire.shared import strictjson
from turnwire.shared.errors import BadRequest

RUN_STARTED: Final = "session.run.started"
RUN_RESUMED: Final = "session.run.resumed"
RUN_SUSPENDED: Final = "session.run.suspended"
RUN_COMPLETED: Final = "session.run.completed"
RUN_FAILED: Final = "session.run.failed"
STREAM_ENDED: Final = "session.stream.ended"  # in no log
ERROR: Final = "error"
RESULT: Final = "result"
PART_UPDATED: Final = "message.part.updated"

OWN_EVENT_PREFIX: Final = b'{"type":"session.run.'  # such events are Turnwire's own: no producer may yield them

MAX_SEQ: Final = 2**63 - 1  # the greatest number that a cursor may hold

TERMINAL_TYPES: Final = frozenset({RUN_COMPLETED, RUN_FAILED})
TERMINAL_EVENT_PREFIXES: Final = tuple(f'{{"type":"{name}"'.encode() for name in sorted(TERMINAL_TYPES))

_encoder: Final = msgspec.json.Encoder()


class ChatStreamEvent(msgspec.Struct, frozen=True):
    """One event as a producer may yield it. `type` may be any word but Turnwire's own, `data` is a JSON object."""

    type: str
    data: dict[str, Any] = {}


class Cursor(msgspec.Struct, frozen=True, order=True):
    """The id of an event, `<attempt>-<seq>`. It fences writes, and it tells a reader where to continue."""

    attempt: int
    seq: int

    @property
    def just_before(self) -> "Cursor":
        """The greatest cursor that is less than this one. A read that starts after it begins with this cursor."""
        return Cursor(self.attempt, self.seq - 1) if self.seq else Cursor(self.attempt - 1, MAX_SEQ)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a client's cursor.

        Raises:
            BadRequest: the text is not two plain decimal numbers joined by a dash, or it names attempt 0. Attempts
                are numbered from 1.
        """
        attempt, dash, seq = text.partition("-")
        if not (dash and len(text) <= 40 and attempt.isascii() and seq.isascii()):
            raise BadRequest("a cursor must have the form <attempt>-<seq>, for example 1-0")
        if not (attempt.isdigit() and seq.isdigit() and 0 < int(attempt) <= MAX_SEQ and int(seq) <= MAX_SEQ):
            raise BadRequest("a cursor must have the form <attempt>-<seq>, for example 1-0")
        return cls(int(attempt), int(seq))

    def __str__(self) -> str:
        return f"{self.attempt}-{self.seq}"


class Entry(msgspec.Struct, frozen=True):
    """One event with its place in the log. `id` is the text of its cursor, `event` its canonical bytes."""

    id: bytes
    event: bytes

    @property
    def terminal(self) -> bool:
        """True for the one event that ends a log."""
        return is_terminal(self.event)


def encode_event(event_type: str, data: dict[str, Any]) -> bytes:
    """Return the canonical bytes of an event.

    Raises:
        TypeError, ValueError: `data` holds a value that JSON cannot represent.
    """
    event = _encoder.encode({"type": event_type, "data": data})
    if b"null" in event:  # written out here as in `strictjson`, because every event of every turn comes by
        strictjson.refuse_non_finite(data)
    return event


def stream_ended(code: str, after: str | None) -> bytes:
    """Return the last event of a stream that ends before its turn does. The client may resume after this cursor."""
    return encode_event(STREAM_ENDED, {"code": code, "after": after, "retryable": True})


def result_data(final_text: str, finish_reason: str | None) -> dict[str, Any]:
    """Return the data of a `result` that Turnwire writes. A finish reason that nobody knows is left out."""
    return {"finalText": final_text} | ({} if finish_reason is None else {"finishReason": finish_reason})


def completed_data(session_id: str, finish_reason: str | None, *, replayed: bool, persisted: bool) -> dict[str, Any]:
    """Return the data of a `session.run.completed`. A finish reason that nobody knows is left out."""
    data = {"sessionId": session_id, "replayed": replayed, "persisted": persisted}
    return data | ({} if finish_reason is None else {"finishReason": finish_reason})


def is_terminal(event: bytes) -> bool:
    """True if these canonical bytes are a `session.run.completed` or `session.run.failed`."""
    return event.startswith(TERMINAL_EVENT_PREFIXES)
