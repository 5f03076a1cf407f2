"""The product's side: subclass ChatTurnHooks, name an instance in TURNWIRE_HOOKS.

Only `produce` is required. Hooks may be plain functions or coroutine functions; plain ones run in a thread.
docs/hooks.md says what happens when one fails.
"""

if __name__ == "worker.hooks":  # imported under two names, ChatTurnHooks would be two classes
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
    MisplacedStepError,
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
    "MisplacedStepError",
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
    """An object that `produce` may return, instead of being a generator."""

    stream: AsyncIterator[ChatStreamEvent | dict[str, Any]]

    def final_text(self) -> str | None:
        """Return the answer. Called when the stream has ended. If it is empty or None, the text deltas are joined."""


class ChatTurnHooks:
    """The hooks of one product."""

    def produce(self, turn: Turn) -> Any:
        """Make the answer: an async generator of `{"type": …, "data": {…}}` or ChatStreamEvent, or a Producer.

        Raise TurnFailure(message, code=…, retryable=…) to fail the turn with your own words.
        """
        raise NotImplementedError

    def transform_final_text(self, turn: Turn, text: str) -> Any:
        """Return the text to keep, a str. Clients that read the live stream have seen the original text."""

    def persist_assistant_message(self, turn: Turn, final_text: str) -> Any:
        """Store the answer under `turn.message_id`. May be called again with the same id, so make it an upsert."""

    def on_turn_complete(self, turn: Turn, final_text: str) -> Any:
        """Called after the message was persisted. An exception is logged and changes nothing."""

    def on_event(self, turn: Turn, event: ChatStreamEvent) -> Any:
        """Called with every event that the client sees, in order, beside the stream. An exception is only logged."""

    def on_ledger_row(self, turn: Turn, row: LedgerRow) -> Any:
        """Called with an attempt's ledger row: its usage and cost, once it is written. An exception is only logged."""

    def trace_flush(self, turn: Turn) -> Any:
        """Called last, however the attempt ended. It has 5 s. An exception is only logged."""

    async def aclose(self) -> None:
        """Called when the worker stops, to close connections."""
