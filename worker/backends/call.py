"""One call of a model: its requests, until an answer is complete or there is no use in asking again."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

import msgspec

from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import ModelCall
from turnwire.worker.backends.answer import StreamedAnswer
from turnwire.worker.backends.continuation import Progress, text_alone
from turnwire.worker.backends.errors import BackendTransportError, BackendTruncatedError
from turnwire.worker.backends.exchange import Asked
from turnwire.worker.backends.fitting import TRIMMED, LeftOut, shorter
from turnwire.worker.backends.generation import Generation, Origin, names_in
from turnwire.worker.backends.quirks import Continue, Quirks
from turnwire.worker.backends.traced import traced
from turnwire.worker.backends.tries import Tries

logger = logging.getLogger(__name__)

_OF_A_LOST_ANSWER: Final[dict[Continue, Continue]] = {"llama-stream": "prefill", "responses": "off"}
_REFUSED: Final = (400, 404, 422)
_NOT_THERE: Final = (400, 404, 405, 410, 501)  # to a request for an answer that the server should have kept


class Exchange(Protocol):
    """Sends the requests of one call."""

    def ask(self, asked: Asked, answer: StreamedAnswer) -> AsyncGenerator[dict[str, Any]]:
        """Send a request, and yield the events of its answer."""

    async def stop(self, generation_id: str) -> None:
        """Let the server stop an answer that it goes on with by itself."""


class Learned(msgspec.Struct):
    """What a process has learned of a server: it refuses a field, or it does not go on with answers of these models."""

    refuses_stream_options: bool = False
    cannot_continue: set[str] = set()


class Call:
    """One call. `begun`: the events with which the answer has begun in an earlier attempt."""

    def __init__(
        self,
        exchange: Exchange,
        request: Mapping[str, Any],
        quirks: Quirks,
        tries: Tries,
        learned: Learned,
        *,
        kind: str,
        on_call: Callable[[ModelCall], None],
        origin: Origin,
        left_out: LeftOut,
        begun: Sequence[ChatStreamEvent] = (),
    ) -> None:
        self._exchange = exchange
        self._whole = request
        self._quirks = quirks
        self._tries = tries
        self._learned = learned
        self._kind = kind
        self._on_call = on_call
        self._origin = origin
        self._left_out = left_out
        self._shortened: list[dict[str, Any]] = []  # the event that says that turns were left out of this call
        self._begun = begun
        if begun and begun[0].type == TRIMMED:  # an earlier attempt has left out turns
            self._shortened, self._begun = [{"type": TRIMMED, "data": begun[0].data}], begun[1:]
        self._model: str = request["model"]
        self._continuations = 0
        # A server may refuse a request for another cause than it seems. So a refusal counts for other calls only when
        # the server has taken the request that avoids it.
        self._refused_usage = False
        self._refused_rest = False
        self.answer_was_lost = False  # whether the server did not have an answer that it should have kept
        self._is_shorter = False  # whether turns were left out because the server has refused the whole history
        self._answer = StreamedAnswer(kind, quirks)  # of the latest request
        self._broken: StreamedAnswer | None = None  # the one before it, as long as it is not counted
        self._broke: BackendTransportError | None = None  # how that one ended
        self._generation: Generation | None = None
        # The client gets these with the first piece of the rest, so that a model that is down can still be replaced.
        self._unsaid: list[dict[str, Any]] = []
        self._rest: dict[str, Any] | None = None
        self._progress = Progress(keeps=self._mode != "off")
        if quirks.continues == "llama-stream":
            self._generation = Generation(origin.generation_id, attaches=origin.resumes)
        elif quirks.continues == "responses":
            name = next(reversed(names_in(begun)), "")
            self._generation = Generation(name, attaches=bool(name))
        if self._generation is None or not self._generation.attaches:
            self._shortened = []
            self._go_on_with_begun()

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """Stream the answer; see `OpenAIBackend.stream`."""
        try:
            while True:
                answer = self._answer = StreamedAnswer(self._kind, self._quirks)
                try:
                    with traced(answer):
                        async with aclosing(self._ask(answer)) as events:
                            async for event in events:
                                yield event
                        last_events = [*self._say_beginning(), *self._progress.end(), *answer.last_events()]
                    break
                except BackendTransportError as failure:
                    final = await self._final(failure)
                    if final is not None:
                        self._tries.log_end(final)
                        raise final from final.__cause__
        except BaseException:
            await self._leave()
            raise
        self._count(partial=False)
        self._learn()
        for event in last_events:
            yield event

    @property
    def _mode(self) -> Continue:
        # A model that has reasoned cannot go on, because it forgets its reasoning. No event tells of hidden reasoning.
        if self._quirks.think == "hide" or self._refused_rest or self._model in self._learned.cannot_continue:
            return "off"
        return _OF_A_LOST_ANSWER.get(self._quirks.continues, self._quirks.continues)

    @property
    def _asks_for_usage(self) -> bool:
        return self._quirks.stream_options and not (self._refused_usage or self._learned.refuses_stream_options)

    def _go_on_with_begun(self) -> None:
        """Ask for the rest of what an earlier attempt has streamed, if the model can go on with it."""
        if not self._begun:
            return
        deltas = [str(event.data.get("delta", "")) for event in self._begun]
        progress = Progress(text_alone(self._begun), deltas, keeps=self._mode != "off")
        self._rest = progress.go_on(self._whole, self._mode)
        if self._rest is not None:
            self._progress = progress
            self._unsaid = [{"type": event.type, "data": event.data} for event in self._begun]
            self._generation = None

    async def _ask(self, answer: StreamedAnswer) -> AsyncGenerator[dict[str, Any]]:
        generation = self._generation
        request = self._whole if self._rest is None else self._rest
        if self._asks_for_usage:
            request = {**request, "stream_options": {"include_usage": True}}
        key = "/shorter" if self._is_shorter else ""  # another request has another key
        key += f"/rest-{self._continuations}" if self._continuations else ""
        asked = Asked(request, key, str(self._tries))
        if generation is not None:
            generation.begin()
            asked = Asked(request, key, str(self._tries), generation.id, reads=generation.attaches)
        async with aclosing(self._exchange.ask(asked, answer)) as events:
            async for event in events:
                if generation is None or generation.is_new(event):
                    for shown in (*self._say_beginning(), *self._progress.take(event)):
                        yield shown

    def _say_beginning(self) -> list[dict[str, Any]]:
        unsaid = self._shortened + self._unsaid
        self._shortened, self._unsaid = [], []
        return unsaid

    async def _final(self, failed: BackendTransportError) -> BackendTransportError | None:
        """Prepare another request, and wait until it may be sent. Returns the failure that ends the call if not."""
        generation = self._generation
        if generation is not None:
            if generation.attaches and failed.status in _NOT_THERE:
                self.answer_was_lost = True
                return self._without(generation, self._broke or failed)
            if isinstance(failed, BackendTruncatedError) and generation.id:
                return await self._read_again(generation, failed)
            generation.asked = generation.attaches or failed.status == 0 or self._answer.responded
        if not self._answer.began and failed.reason == "context_length" and self._leave_out(failed.body):
            return None
        if not self._answer.began:
            return None if self._asks_differently(failed) or await self._tries.again(failed) else failed
        rest = self._progress.go_on(self._whole, self._mode)
        if rest is None or not await self._tries.again(failed):
            return failed
        self._ask_for_rest(rest)
        return None

    async def _read_again(self, generation: Generation, failed: BackendTransportError) -> BackendTransportError | None:
        """As `_final`, for an answer that the server has begun and perhaps goes on with."""
        is_over = generation.attaches and not generation.grew  # what the server keeps breaks off here, too
        if not await self._tries.again(failed):
            return failed
        self._broke, self._broken, generation.attaches = failed, self._answer, True
        if not is_over:
            return None
        await self._exchange.stop(generation.id)
        return self._without(generation, failed)

    def _without(self, generation: Generation, failed: BackendTransportError) -> BackendTransportError | None:
        """As `_final`, for an answer that the server does not have, or not any more."""
        generation.attaches = generation.asked = False
        if not generation.has_begun:
            self._shortened = []
            self._go_on_with_begun()
            return None
        rest = self._progress.go_on(self._whole, self._mode)
        if rest is None:
            return failed
        self._ask_for_rest(rest)
        return None

    def _ask_for_rest(self, rest: dict[str, Any]) -> None:
        self._count(partial=True)
        self._generation = None
        self._rest, self._continuations = rest, self._continuations + 1

    async def _leave(self) -> None:
        """Let nothing go on that nobody wants, after a failure or because the caller has stopped."""
        generation = self._generation
        if generation is not None and generation.asked and self._origin.moves():
            return  # the next attempt reads this answer to its end, and counts it
        self._count(partial=True)
        if generation is not None and generation.asked and generation.id:
            await self._exchange.stop(generation.id)

    def _leave_out(self, refusal: str) -> bool:
        """Leave out the oldest turns, once, because the request is too long. Returns False if there are none."""
        if self._is_shorter:
            return False
        fitted = shorter(self._whole["messages"], refusal)
        if not fitted.dropped_turns:
            return False
        self._is_shorter = True
        self._whole = {**self._whole, "messages": fitted.messages}
        if self._rest is not None:
            self._rest = self._progress.go_on(self._whole, self._mode)
        self._shortened = [self._left_out.event(fitted.dropped_turns)]
        return True

    def _asks_differently(self, failed: BackendTransportError) -> bool:
        """Whether the server refused only the form of the request, which is another one from now on."""
        if failed.status not in _REFUSED:
            return False
        if "stream_options" in failed.body and self._asks_for_usage:
            self._refused_usage = True
            return True
        if self._rest is None:
            return False
        self._refused_rest = True
        if self._unsaid:
            self._progress, self._unsaid = Progress(keeps=False), []
        else:
            self._progress.ask_anew()
        self._rest, self._continuations = None, self._continuations + 1
        return True

    def _learn(self) -> None:
        """Remember for other calls what the server refuses, or does not do."""
        if self._refused_usage:
            logger.warning("the model server refuses stream_options, so its usage may stay unknown")
            self._learned.refuses_stream_options = True
        if self._refused_rest or self._progress.started_over:
            logger.warning("the model %r does not go on with an answer that broke off", self._model)
            self._learned.cannot_continue.add(self._model)

    def _count(self, *, partial: bool) -> None:
        answer = self._answer if self._answer.responded else self._broken
        self._broken = None
        if answer is not None and answer.responded:
            self._on_call(answer.call(self._model, partial=partial))
