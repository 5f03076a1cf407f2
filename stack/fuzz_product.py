"""The product that answers while a service is attacked with random requests."""

from collections.abc import AsyncIterator
from typing import Any

from turnwire import ChatTurnHooks, Turn


class Short(ChatTurnHooks):
    """Says a few words at once."""

    async def produce(self, turn: Turn) -> AsyncIterator[dict[str, Any]]:
        """Two pieces of text, whatever was asked."""
        for text in ("You said ", f"{len(turn.text)} characters."):
            yield {"type": "message.part.updated", "data": {"delta": text}}


hooks = Short()
