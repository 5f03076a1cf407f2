"""The history of a turn: the chat messages of the earlier turns of its session."""

from collections.abc import Sequence

import msgspec

from turnwire.shared.content import Content, content_bytes
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import TurnRecord


class Message(msgspec.Struct, frozen=True):
    """A chat message. `role` is `user` or `assistant`; only a user's content may have parts."""

    role: str
    content: Content


class StoredHistory(msgspec.Struct, frozen=True):
    """A turn's history as it is stored among its step records. It is shaped like them, for readers of all of them."""

    result: list[Message]
    intent: str = "history"
    kind: str = "history"
    status: str = "completed"


_stored = msgspec.json.Decoder(StoredHistory)


def messages_of(earlier: Sequence[TurnRecord], max_bytes: int) -> list[Message]:
    """Return the messages of the completed turns among `earlier`, oldest first.

    The latest turns are kept, as many as have at most `max_bytes` together. A turn without a text is left
    out, because its answer is not transformed yet. So is one whose answer is empty: many model servers refuse an empty
    message, and each later request of the session would have it.
    """
    kept: list[Message] = []
    left = max_bytes
    for record in reversed(earlier):
        answer = record.final_text or ""
        if record.status is not TurnState.COMPLETED or not answer.strip():
            continue
        left -= content_bytes(record.message) + len(answer.encode())
        if left < 0:
            break
        kept += [Message("assistant", answer), Message("user", record.message)]
    return kept[::-1]


def encode_messages(messages: Sequence[Message]) -> bytes:
    """Encode the history of a turn for its later attempts."""
    return msgspec.json.encode(StoredHistory(list(messages)))


def decode_messages(stored: bytes) -> list[Message]:
    """Decode the history that `encode_messages` made."""
    return _stored.decode(stored).result
