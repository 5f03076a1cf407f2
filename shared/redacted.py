"""Takes the content out of an event, for logs, traces and metrics that may hold none."""

from collections.abc import Mapping
from typing import Any, Final

from turnwire.shared.events import ChatStreamEvent

# The texts of these fields are names and codes, and no content.
KEPT: Final = frozenset(
    {
        "type", "id", "index", "sessionId", "tenantId", "turnIndex", "attempt", "after", "reason", "awaiting", "code",
        "finishReason", "model", "insteadOf", "currency",
    }
)  # fmt: skip


def redacted(event: ChatStreamEvent | Mapping[str, Any]) -> ChatStreamEvent:
    """Return the event without its content: each text is replaced by its length, as in `[12 characters]`.

    Numbers, booleans, nulls and the names of fields stay, and so do the texts of fields that hold names and codes, such
    as `type`, `id`, `code` or `finishReason`. `event` may also be a mapping with `type` and `data`. It is not changed.
    """
    if isinstance(event, ChatStreamEvent):
        event_type, data = event.type, event.data
    else:
        event_type, data = event["type"], event.get("data") or {}
    return ChatStreamEvent(event_type, {name: _without_text(name, value) for name, value in data.items()})


def _without_text(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value if name in KEPT else f"[{len(value)} characters]"
    if isinstance(value, Mapping):
        return {inner: _without_text(inner, child) for inner, child in value.items()}
    if isinstance(value, list | tuple):
        return [_without_text(name, child) for child in value]
    return value
