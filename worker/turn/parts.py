"""Reads the type and the data of an event that a product has made."""

from typing import Any

from turnwire.shared.errors import ProducerError
from turnwire.shared.events import ChatStreamEvent


def parts_of(event: Any) -> tuple[str, dict[str, Any]]:
    """Return the type and the data of an event that a producer yielded.

    Raises:
        ProducerError: `invalid_event`: the object is not an event.
    """
    event_type: Any
    data: Any
    if isinstance(event, dict):
        event_type, data = event.get("type"), event.get("data")
    elif isinstance(event, ChatStreamEvent):
        event_type, data = event.type, event.data
    else:
        raise ProducerError("the producer yielded something that is not an event", code="invalid_event")
    if isinstance(data, dict) and isinstance(event_type, str) and event_type:
        return event_type, data
    if data is not None or not isinstance(event_type, str) or not event_type:
        raise ProducerError("an event must have the form {type: text, data: object}", code="invalid_event")
    if isinstance(event, dict) and (others := sorted(map(repr, event.keys() - {"type", "data"}))):
        named = ", ".join(others[:5])  # the values under these names would be lost silently
        raise ProducerError(f"an event must have its payload in `data`; this one has {named}", code="invalid_event")
    return event_type, {}
