"""Seals content with the codec before it is stored, and opens it again. Without a codec, nobody calls this.

Sealed content is text, `~tw1~` and base64, so that it fits wherever text or a JSON string stands. What scripts read
stays clear: the types of events, the positions and intents of steps, states, codes and counters. Everything that opens
also takes content that was stored before there was a codec.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from turnwire.shared.codec import Codec, ContentKeyError
from turnwire.shared.errors import ContentUnreadable
from turnwire.shared.events import Entry
from turnwire.shared.keys import TurnKey
from turnwire.shared.model import StepRecord

MARK: Final = b"~tw1~"
FIELDS: Final = (  # content in the turn hash
    "message", "content", "options", "metadata", "final_text", "untransformed", "partial_text", "error_message",
)  # fmt: skip
SEALED_ERROR: Final = "sealed"

_DATA: Final = b'","data":'  # between an event's type and its data, in canonical bytes
_NAMES: Final = tuple(name.encode() for name in FIELDS)
T = TypeVar("T")


class Sealing:
    """Seals and opens the content of turns. Each method raises ContentUnreadable if the codec cannot do it."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def seal(self, key: TurnKey, content: str | bytes) -> bytes:
        """Seal a text."""
        data = content.encode() if isinstance(content, str) else content
        try:
            sealed = self._codec.encode(data, tenant=key.session.tenant, run_id=key.run_id)
        except ContentKeyError as error:
            raise ContentUnreadable(f"the content of turn {key.run_id} cannot be encrypted") from error
        return MARK + base64.b64encode(sealed)

    def open(self, key: TurnKey, content: bytes) -> bytes:
        """Open a sealed text. Another one is returned as it is."""
        if not content.startswith(MARK):
            return content
        try:
            sealed = base64.b64decode(content[len(MARK) :], validate=True)
            return self._codec.decode(sealed, tenant=key.session.tenant, run_id=key.run_id)
        except (ContentKeyError, binascii.Error) as error:
            raise ContentUnreadable(f"the content of turn {key.run_id} cannot be decrypted") from error

    def seal_json(self, key: TurnKey, document: bytes) -> bytes:
        """Seal a JSON document. The result is a JSON string."""
        return b'"' + self.seal(key, document) + b'"'

    def open_json(self, key: TurnKey, document: bytes) -> bytes:
        """Open what `seal_json` made. Another document is returned as it is."""
        return self.open(key, document[1:-1]) if document.startswith(b'"' + MARK) else document

    def seal_event(self, key: TurnKey, event: bytes) -> bytes:
        """Seal the data of an event; its type stays clear."""
        start = event.index(_DATA) + len(_DATA)
        return event[:start] + self.seal_json(key, event[start:-1]) + b"}"

    def open_event(self, key: TurnKey, event: bytes) -> bytes:
        """Return the canonical bytes of a sealed event, and of one that a script has written."""
        start = event.find(_DATA) + len(_DATA)
        if not event.startswith(b'"' + MARK, start):
            return event
        return event[:start] + self.open_json(key, event[start:-1]) + b"}"

    def seal_events(self, key: TurnKey, events: Iterable[bytes]) -> list[bytes]:
        """Seal events."""
        return [self.seal_event(key, event) for event in events]

    def open_entries(self, key: TurnKey, entries: Sequence[Entry]) -> list[Entry]:
        """Open the events of a log."""
        return [Entry(entry.id, self.open_event(key, entry.event)) for entry in entries]

    def seal_fields(self, key: TurnKey, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Seal those fields of the turn hash that are content."""
        return {name: self.seal(key, value) if name in FIELDS else value for name, value in fields.items()}

    def open_fields(self, key: TurnKey, fields: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """Open the fields of the turn hash."""
        opened = {name: self.open(key, fields[name]) for name in _NAMES if name in fields}
        return {**fields, **opened}

    def seal_step(self, key: TurnKey, step: StepRecord) -> StepRecord:
        """Seal the result of a step, and the reason why it failed."""
        error = step.error
        if error is not None:
            error = {SEALED_ERROR: self.seal(key, msgspec.json.encode(error)).decode()}
        result = msgspec.Raw(self.seal_json(key, bytes(step.result)))
        return msgspec.structs.replace(step, result=result, error=error)

    def open_step(self, key: TurnKey, step: StepRecord) -> StepRecord:
        """Open a step."""
        error = step.error
        if error is not None and SEALED_ERROR in error:
            error = msgspec.json.decode(self.open(key, str(error[SEALED_ERROR]).encode()))
        result = msgspec.Raw(self.open_json(key, bytes(step.result)))
        return msgspec.structs.replace(step, result=result, error=error)

    def open_signal(self, key: TurnKey, stored: bytes) -> bytes:
        """Open the payload of a stored signal: JSON `{payload, emitted_at}`."""
        if MARK not in stored:
            return stored
        signal: dict[str, msgspec.Raw] = msgspec.json.decode(stored, type=dict[str, msgspec.Raw])
        payload = self.open_json(key, bytes(signal["payload"]))
        return msgspec.json.encode(signal | {"payload": msgspec.Raw(payload)})
