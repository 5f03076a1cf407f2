"""The product's side: subclass ChatTurnHooks, name an instance in TURNWIRE_HOOKS.

Only `produce` is required. Hooks may be plain functions or coroutines; plain ones run in a thread. What happens when
one fails: docs/hooks.md.
"""

if __name__ == "worker.hooks":  # the same class under two names would not be the same class
    raise ImportError("import ChatTurnHooks from `turnwire`: the module `worker.hooks` is now `turnwire.worker.hooks`")

from collections.abc import AsyncIterator
from typing import Any, Protocol, runtime_checkable

from turnwire.shared.errors import TurnFailure
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.ledger import LedgerRow
from turnwire.shared.model import ModelCall
from turnwire.worker.turn.step_errors import (
    DivergenceError,
    InputDriftError,
    NestedStepError,
    SignalTimeoutError,
    StepResultError,
)
from turnwire.worker.turn.turn import Turn

__all__ = [
    "ChatStreamEvent",
    "ChatTurnHooks",
    "DivergenceError",
    "InputDriftError",
    "LedgerRow",
    "ModelCall",
    "NestedStepError",
    "Producer",
    "SignalTimeoutError",
    "StepResultError",
    "Turn",
    "TurnFailure",
]


@runtime_checkable
class Producer(Protocol):
    """What `produce` may return instead of being a generator."""

    stream: AsyncIterator[ChatStreamEvent | dict[str, Any]]

    def final_text(self) -> str | None:
        """The answer, asked for when the stream has ended; empty or None: joined from the text deltas."""


class ChatTurnHooks:
    """The hooks of one product."""

    def produce(self, turn: Turn) -> Any:
        """Make the answer: an async generator of `{"type": …, "data": {…}}` or ChatStreamEvent, or a Producer.

        Raise TurnFailure(message, code=…, retryable=…) to fail the turn with your own words.
        """
        raise NotImplementedError

    def transform_final_text(self, turn: Turn, text: str) -> Any:
        """Return the text to keep (str); the live stream keeps the original."""

    def persist_assistant_message(self, turn: Turn, final_text: str) -> Any:
        """Store the answer under `turn.message_id`. May be called again with the same id: make it an upsert."""

    def on_turn_complete(self, turn: Turn, final_text: str) -> Any:
        """After the message was persisted. A failure is logged and swallowed."""

    def on_event(self, turn: Turn, event: ChatStreamEvent) -> Any:
        """Sees every event that the client sees, in order, beside the stream. A failure is logged and swallowed."""

    def on_ledger_row(self, turn: Turn, row: LedgerRow) -> Any:
        """What an attempt of this turn used and cost, after that was written. A failure is logged and swallowed."""

    def trace_flush(self, turn: Turn) -> Any:
        """Last of all, whatever happened; time-limited. A failure is logged and swallowed."""

    async def aclose(self) -> None:
        """The worker stops."""
