"""An answer that a model server goes on with by itself, and keeps, so that it can be read again from its beginning.

It ends with no connection. So whoever does not want it any more has to stop it, or it is paid to its end. No I/O.
"""

import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.store.findings import Findings

NAMED: Final = "model.response"  # the event that tells the server's own name for an answer
_IDS: Final = uuid.UUID("0b0e9a56-64c1-5d0a-9d2a-2f0c2a1f6f5e")


class Origin(msgspec.Struct, frozen=True):
    """Says which call of which turn a request belongs to.

    Attributes:
        key: names the call; the same in all attempts of its turn, and in no other call.
        resumes: whether an earlier attempt may have made this call.
        moves: whether the turn goes on in another attempt. Then what is under way must not be stopped.
        findings: what all workers know about model servers; None: this process knows for itself alone.
    """

    key: str
    resumes: bool = False
    moves: Callable[[], bool] = lambda: False
    findings: Findings | None = None

    @property
    def generation_id(self) -> str:
        """The id under which the server keeps the answer to this call."""
        return uuid.uuid5(_IDS, self.key).hex


class Generation:
    """One such answer, as one call reads it.

    Attributes:
        id: the server's name for it; '' until the server has given it one.
        attaches: whether the next request reads what the server has, instead of asking the model.
        asked: whether the server may be working on it.
    """

    def __init__(self, generation_id: str, *, attaches: bool) -> None:
        self.id = generation_id
        self.attaches = attaches
        self.asked = attaches
        self._seen = 0  # how many events the call has, over all its requests
        self._position = 0
        self._seen_before = 0

    def begin(self) -> None:
        """Read it from its first event."""
        self._position, self._seen_before = 0, self._seen
        self.asked = True

    def is_new(self, event: dict[str, Any]) -> bool:
        """Take the next event. Returns whether an earlier request of this call has not had it."""
        if event["type"] == NAMED:
            self.id = event["data"]["id"]
        self._position += 1
        if self._position <= self._seen:
            return False
        self._seen = self._position
        return True

    @property
    def has_begun(self) -> bool:
        """Whether the call has an event of it."""
        return self._seen > 0

    @property
    def grew(self) -> bool:
        """Whether the latest request has brought a new event."""
        return self._seen > self._seen_before


def names_in(events: Iterable[ChatStreamEvent]) -> list[str]:
    """Return the names that servers have given to the answers of these events."""
    return [event.data["id"] for event in events if event.type == NAMED]
