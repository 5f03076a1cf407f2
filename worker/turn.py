"""What a producer and the other hooks get: the turn they work on."""

import uuid
from typing import Any, Final

from shared.lifecycle import TurnState
from shared.model import Claimed, TurnRecord, Usage

_MESSAGE_IDS: Final = uuid.UUID("6f1c4f0e-55a6-5b0c-8f3f-4f1f5d0e9c11")


class Turn:
    """One attempt of one turn.

    Attributes:
        run_id: `chat:<session>:<index>`
        session_id, turn_index, tenant_id: its parts
        message: the user's message
        user_id, project, domain, model: what the client gave, or None
        metadata: the client's JSON object, {} if it gave none
        attempt: 1 for the first run of the turn
        message_id: id of the assistant's message, a UUID text, equal on every attempt: the key to persist it under
        usage: `usage.add(ModelCall(…))` counts a model call
    """

    def __init__(self, claimed: Claimed, earlier: list[TurnRecord], usage: Usage) -> None:
        record = claimed.record
        self.run_id = record.run_id
        self.session_id = record.session_id
        self.turn_index = record.turn_index
        self.tenant_id = record.tenant_id
        self.message = record.message
        self.user_id = record.user
        self.project = record.project
        self.domain = record.domain
        self.model = record.model
        self.metadata: dict[str, Any] = record.metadata or {}
        self.attempt = claimed.attempt
        self.message_id = str(uuid.uuid5(_MESSAGE_IDS, record.run_id))
        self.usage = usage
        self._earlier = earlier

    def history(self) -> list[dict[str, str]]:
        """The session's earlier completed turns as chat messages, oldest first: user, assistant, user, …

        At most `TURNWIRE_HISTORY_TURNS` turns (default 50), and none that retention has removed.
        """
        messages = []
        for record in self._earlier:
            if record.status is TurnState.COMPLETED:
                messages.append({"role": "user", "content": record.message})
                messages.append({"role": "assistant", "content": record.final_text or ""})
        return messages
