"""Keeps what comes with an answer beside its text: images, sources, and reasoning that has to go back. No I/O."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

logger = logging.getLogger(__name__)

ATTACHED: Final = "message.attached"
REASONING_DETAILS: Final = "reasoning.details"
_FIELDS: Final = ("images", "audio", "annotations", "citations", "search_results")


class Attachments:
    """The attachments of one answer. `max_bytes`: a larger one is left out, and the log says so."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._seen: dict[str, Any] = {}
        self._details: list[dict[str, Any]] = []
        self._details_size = 0  # about how many characters they have

    def take(self, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a `message.attached` event for each new attachment. Some servers repeat them in each chunk."""
        details = fields.get("reasoning_details")
        if isinstance(details, list):
            self._keep(details)
        for name in _FIELDS:
            value = fields.get(name)
            if value and value != self._seen.get(name):
                self._seen[name] = value
                yield from self._fitting({"type": ATTACHED, "data": {name: value}})

    def last_events(self) -> list[dict[str, Any]]:
        """Return the event with the reasoning that the server wants back, if it sent some."""
        return (
            list(self._fitting({"type": REASONING_DETAILS, "data": {"details": self._details}}))
            if self._details
            else []
        )

    def _keep(self, details: list[Any]) -> None:
        """Keep the details, with the streamed pieces of each text joined."""
        for detail in details:
            # So many certainly do not fit into an event, and are left out. A server may send more of them without end.
            if not isinstance(detail, dict) or self._details_size > 4 * self._max_bytes:
                continue
            last = self._details[-1] if self._details else {}
            same = all(last.get(name) == detail.get(name) for name in ("type", "index", "id"))
            for name in ("text", "summary"):
                if same and isinstance(detail.get(name), str) and isinstance(last.get(name), str):
                    last |= {**detail, name: last[name] + detail[name]}
                    self._details_size += len(detail[name])
                    break
            else:
                self._details.append(dict(detail))
                self._details_size += len(str(detail))

    def _fitting(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        try:
            size = len(msgspec.json.encode(event))
        except (ValueError, TypeError, RecursionError):
            size = self._max_bytes + 1
        if size <= self._max_bytes:
            yield event
        else:
            logger.warning("%s of a model's answer are left out: they are larger than an event", event["type"])
