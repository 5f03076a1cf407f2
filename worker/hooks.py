"""The class that a product implements: subclass ChatTurnHooks, and name an instance in TURNWIRE_HOOKS.

Only `produce` is required. Hooks may be plain functions or coroutine functions; plain ones run in a thread.
docs/hooks.md says what happens when one fails. Products import the names from `turnwire`.
"""

if __name__ == "worker.hooks":  # under a second name, the module would make a second ChatTurnHooks class
    raise ImportError("import ChatTurnHooks from `turnwire`: the module `worker.hooks` is now `turnwire.worker.hooks`")

from collections.abc import AsyncIterator
from typing import Any, Protocol, runtime_checkable

from turnwire.shared.erasure import Erasure
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.ledger import LedgerRow
from turnwire.shared.model import TurnError
from turnwire.worker.turn.turn import Turn


@runtime_checkable
class Producer(Protocol):
    """An object that `produce` may return, instead of being a generator."""

    stream: AsyncIterator[ChatStreamEvent | dict[str, Any]]

    def final_text(self) -> str | None:
        """Return the answer. It is called when the stream has ended. With '' or None, the text deltas are joined."""


class ChatTurnHooks:
    """The hooks of one product. `turn` is the Turn that a hook is called for; three of them are called for none.

    Attributes:
        continues_answers: True if `produce` yields `turn.partial_events` again and goes on from there. Then these
            events stay in the log when another worker takes the turn over, and no client has to drop them. All hooks of
            a worker must have it. It has no effect beside `redact`, which would cut them in other places.
        redact_tail: the length in characters of the longest text that `redact` has to find.
    """

    continues_answers: bool = False
    redact_tail: int = 64

    def produce(self, turn: Turn) -> Any:
        """Make the answer. Write it as an async generator of `{"type": …, "data": {…}}` or ChatStreamEvent.

        It may also be a plain generator, which runs in a thread, or return a generator or a Producer.

        Raises:
            TurnFailure: raise it to fail the turn with a message, a code and `retryable` of your own.
            Exception: any other exception fails the turn as `producer_error`.
        """
        raise NotImplementedError

    def history(self, turn: Turn) -> Any:
        """Return the earlier messages of the conversation, oldest first, for example from a database of your own.

        They are dicts with a `role`, in the form that your model takes, and replace what Turnwire keeps of the session.
        The hook is called before `produce`, until an attempt has stored a step.

        Raises:
            TurnFailure: raise it to fail the turn in your own words.
            Exception: any other exception fails the turn as `history_failed`, which may be asked again.
        """

    def redact(self, turn: Turn, event: ChatStreamEvent) -> Any:
        """Return the event as it may be stored and shown, or None to withhold it. Nothing of it is stored before.

        It must be a plain function that is quick, does no I/O, and always returns the same for the same event: it is
        called in the event loop, several times for each piece of text. The last `redact_tail` characters of a text are
        held back until more has come, so that a pattern of at most this length is always seen as a whole.

        Raises:
            Exception: any exception fails the turn as `redact_failed`.
        """

    def transform_final_text(self, turn: Turn, text: str) -> Any:
        """Return the text to keep, a str. Clients that read the live stream have seen the original `text`."""

    def persist_assistant_message(self, turn: Turn, final_text: str) -> Any:
        """Store the answer under `turn.message_id`. It may be called again with the same id, so make it an upsert."""

    def on_turn_complete(self, turn: Turn, final_text: str) -> Any:
        """Do what has to follow a persisted answer. An exception is logged and changes nothing."""

    def on_turn_failed(self, turn: Turn, error: TurnError, partial_text: str) -> Any:
        """Take note of a turn that has failed or was cancelled. `error.code` says why; it may be `cancelled`.

        `partial_text` is what clients have read of an answer, as far as Turnwire has it. The hook is called at least
        once, after the end of the turn. An exception is logged and changes nothing.
        """

    def on_event(self, turn: Turn, event: ChatStreamEvent) -> Any:
        """Take an event that the client sees. Called for each one, in order; the stream does not wait for it.

        An exception is logged and changes nothing.
        """

    def on_ledger_row(self, turn: Turn, row: LedgerRow) -> Any:
        """Take the ledger row of an attempt, which says what it used and cost, after the row was written.

        An exception is logged and changes nothing.
        """

    def on_erase(self, erasure: Erasure) -> Any:
        """Erase the product's own copy of what Turnwire has erased. It may be called again with the same `erasure.id`.

        It is called once Turnwire's copy is gone. If it raises, it is called again, with growing pauses, until it
        succeeds. There may be nothing to erase.
        """

    def trace_flush(self, turn: Turn) -> Any:
        """Send off what a tracer has collected. Called last, however the attempt ended, for at most 5 s.

        An exception is logged and changes nothing.
        """

    def startup(self) -> Any:
        """Prepare the product, for example open a pool of connections. Called once, before the worker takes a turn.

        If it raises, or takes too long, the worker stops with exit status 1.
        """

    def shutdown(self) -> Any:
        """Finish what `startup` began. Called when the worker stops and runs no turn any more, for at most 5 s."""

    async def aclose(self) -> None:
        """Close the product's connections. Called when the worker stops, for at most 5 s."""
