"""The history of a turn: the chat messages of the turns that it follows, or those of the product's own database."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from turnwire.shared.content import content_bytes
from turnwire.shared.errors import TurnFailure
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import TurnRecord

Message: TypeAlias = dict[str, Any]  # a chat message: `role` and `content`; those of a product may have more


class HistoryError(TurnFailure):
    """The product's hook `history` failed, or returned something that is no history."""

    code = "history_failed"
    retryable = True


class StoredHistory(msgspec.Struct, frozen=True):
    """A turn's history as it is stored among its step records. It is shaped like them, for readers of all of them."""

    result: list[Message]
    intent: str = "history"
    kind: str = "history"
    status: str = "completed"


_stored = msgspec.json.Decoder(StoredHistory)


def messages_of(earlier: Sequence[TurnRecord], max_bytes: int, *, stopped: bool = False) -> list[Message]:
    """Return the messages of the completed turns among `earlier`, oldest first.

    The latest turns are kept, as many as have at most `max_bytes` together. A turn without a text is left out, because
    its answer is not transformed yet. So is one whose answer is empty: many model servers refuse an empty message, and
    each later request of the session would have it. `stopped`: whether turns that failed or were cancelled count, with
    the text that they had streamed.
    """
    kept: list[Message] = []
    left = max_bytes
    for record in reversed(earlier):
        answer = (record.final_text if record.status is TurnState.COMPLETED else stopped and record.partial_text) or ""
        if not answer.strip():
            continue
        left -= content_bytes(record.message) + len(answer.encode())
        if left < 0:
            break
        kept += [{"role": "assistant", "content": answer}, {"role": "user", "content": record.message}]
    return kept[::-1]


def messages_from(returned: Any, max_bytes: int) -> list[Message]:
    """Return the messages that a product's hook `history` has returned, as JSON gives them back.

    Raises:
        HistoryError: they are not a list of objects with a `role`, or have more than `max_bytes`.
    """
    if not isinstance(returned, Sequence) or not all(_is_message(message) for message in returned):
        raise HistoryError("the hook `history` returned something that is not a list of chat messages")
    try:
        encoded = msgspec.json.encode(returned)
    except (TypeError, ValueError, RecursionError) as error:
        raise HistoryError("the hook `history` returned messages that are not JSON") from error
    if len(encoded) > max_bytes:
        raise HistoryError(f"the hook `history` returned more than {max_bytes} bytes")
    messages: list[Message] = msgspec.json.decode(encoded)
    return messages


def _is_message(message: Any) -> bool:
    return isinstance(message, Mapping) and isinstance(message.get("role"), str)


def encode_messages(messages: Sequence[Message]) -> bytes:
    """Encode the history of a turn for its later attempts."""
    return msgspec.json.encode(StoredHistory(list(messages)))


def decode_messages(stored: bytes) -> list[Message]:
    """Decode the history that `encode_messages` made."""
    return _stored.decode(stored).result
