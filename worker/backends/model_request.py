"""Says which turn the requests of an SDK's client belong to, because an SDK knows nothing of turns."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import ModelCall
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.turn.turn import Turn


class ModelRequest:
    """A model request of a turn, which an SDK makes with the client of `sdk_client`.

    Attributes:
        turn: Turn, which the request belongs to.
        name: str, tells the requests of the turn apart. It must be the same on every attempt.
        failure: how the latest request of the SDK has failed; None: it has not.
        counted: bool, whether a call of the model was counted in `turn.usage`.
    """

    def __init__(
        self,
        turn: Turn,
        name: str,
        begun: Sequence[ChatStreamEvent],
        model: str | None,
        show: Callable[[dict[str, Any]], Awaitable[None]] | None,
    ) -> None:
        self.turn = turn
        self.name = name
        self._begun = begun
        self.failure: BackendTransportError | None = None
        self.counted = False
        self._model = model
        self._show = show

    def take_begun(self) -> Sequence[ChatStreamEvent]:
        """Return the events with which the answer has begun, once: another model does not go on with them."""
        begun, self._begun = self._begun, ()
        return begun

    def count(self, call: ModelCall) -> None:
        """Count a call in the usage of the turn."""
        self.counted = True
        self.turn.usage.add(call if self._model is None else msgspec.structs.replace(call, model=self._model))

    async def show(self, event: dict[str, Any]) -> None:
        """Pass on an event that an SDK has no word for."""
        if self._show is not None:
            await self._show(event)


_current: Final[ContextVar[ModelRequest | None]] = ContextVar("turnwire_model_request", default=None)


def current_request() -> ModelRequest | None:
    """Return the model request that this code belongs to; None if there is none."""
    return _current.get()


@contextmanager
def model_request(
    turn: Turn,
    name: str,
    *,
    begun: Sequence[ChatStreamEvent] = (),
    model: str | None = None,
    show: Callable[[dict[str, Any]], Awaitable[None]] | None = None,
) -> Generator[ModelRequest]:
    """Let what the client of `sdk_client` sends inside the block be a model request of this turn.

    Args:
        turn: its usage counts the calls.
        name: tells the requests of the turn apart. It must be the same on every attempt.
        begun: as for `OpenAIBackend.ask`: the events with which the answer has begun in an earlier attempt.
        model: the name of the model for the ledger; None: the one that is asked.
        show: gets the events that an SDK has no word for, such as `model.response`. They belong into the turn's stream.

    Yields: the request, which tells in the end how it went.
    """
    request = ModelRequest(turn, name, begun, model, show)
    token = _current.set(request)
    try:
        yield request
    finally:
        _current.reset(token)
