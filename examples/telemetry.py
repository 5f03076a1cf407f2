"""Telemetry without content: every event goes to the log, with each text replaced by its length.

    TURNWIRE_HOOKS=examples.telemetry:hooks python3 dev.py

The hook `on_event` sees what clients see, and delays nobody.
"""

import logging
from typing import Any

import msgspec

from turnwire import ChatStreamEvent, Turn, redacted
from turnwire.backends import DemoHooks

logger = logging.getLogger("telemetry")


class Telemetry(DemoHooks):
    """Answers as the offline demo does. Take your own product in place of it."""

    def on_event(self, turn: Turn, event: ChatStreamEvent) -> None:
        """Log what happens, and to which turn, but nothing that anybody has said."""
        shown: dict[str, Any] = {"turn": turn.run_id, "attempt": turn.attempt, "type": event.type}
        logger.info("%s", msgspec.json.encode({**shown, "data": redacted(event).data}).decode())


hooks = Telemetry()
