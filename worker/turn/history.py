"""The chat messages of the turns before a turn."""

from collections.abc import Sequence

import msgspec

from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import TurnRecord


class Message(msgspec.Struct, frozen=True):
    """A chat message. `role`: user or assistant."""

    role: str
    content: str


class StoredHistory(msgspec.Struct, frozen=True):
    """What stands among a turn's step records for its history. It has the shape of one, for whoever reads them all."""

    result: list[Message]
    intent: str = "history"
    kind: str = "history"
    status: str = "completed"


_stored = msgspec.json.Decoder(StoredHistory)


def messages_of(earlier: Sequence[TurnRecord], max_bytes: int) -> list[Message]:
    """Return the messages of the completed turns among `earlier`, oldest first.

    As many of the latest turns as have `max_bytes` of text together, in UTF-8. A turn without a text is left out: its
    answer is not transformed yet.
    """
    kept: list[Message] = []
    left = max_bytes
    for record in reversed(earlier):
        if record.status is not TurnState.COMPLETED or record.final_text is None:
            continue
        left -= len(record.message.encode()) + len(record.final_text.encode())
        if left < 0:
            break
        kept += [Message("assistant", record.final_text), Message("user", record.message)]
    return kept[::-1]


def encode_messages(messages: Sequence[Message]) -> bytes:
    """Return the form in which later attempts of a turn find its history."""
    return msgspec.json.encode(StoredHistory(list(messages)))


def decode_messages(stored: bytes) -> list[Message]:
    """Do the inverse of `encode_messages`."""
    return _stored.decode(stored).result
