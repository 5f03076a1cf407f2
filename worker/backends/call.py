"""One call of a model: its requests, until an answer is complete or there is no use in asking again."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import msgspec

from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import ModelCall
from turnwire.worker.backends.answer import StreamedAnswer
from turnwire.worker.backends.continuation import Progress, text_alone
from turnwire.worker.backends.errors import BackendTransportError
from turnwire.worker.backends.quirks import Continue, Quirks
from turnwire.worker.backends.traced import traced
from turnwire.worker.backends.tries import Tries

logger = logging.getLogger(__name__)

# Sends a request (its fields, what is added to the idempotency key, its number in words) and yields the events.
Exchange: TypeAlias = Callable[[Mapping[str, Any], str, str, StreamedAnswer], AsyncGenerator[dict[str, Any]]]

_REFUSED = (400, 404, 422)


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
        begun: Sequence[ChatStreamEvent] = (),
    ) -> None:
        self._exchange = exchange
        self._whole = request
        self._quirks = quirks
        self._tries = tries
        self._learned = learned
        self._kind = kind
        self._on_call = on_call
        self._model: str = request["model"]
        self._continuations = 0
        # A server may refuse a request for another cause than it seems. So a refusal counts for other calls only when
        # the server has taken the request that avoids it.
        self._refused_usage = False
        self._refused_rest = False
        # The client gets these with the first piece of the rest, so that a model that is down can still be replaced.
        self._unsaid: list[dict[str, Any]] = []
        self._progress = Progress(text_alone(begun), len(begun), keeps=self._mode != "off")
        self._rest = self._progress.go_on(request, self._mode) if begun else None
        if self._rest is None:
            self._progress = Progress(keeps=self._mode != "off")
        else:
            self._unsaid = [{"type": event.type, "data": event.data} for event in begun]

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """Stream the answer; see `OpenAIBackend.stream`."""
        while True:
            answer = StreamedAnswer(self._kind, self._quirks)
            try:
                with traced(answer):
                    async with aclosing(self._ask(answer)) as events:
                        async for event in events:
                            yield event
                    last_events = [*self._say_beginning(), *self._progress.end(), *answer.last_events()]
            except BackendTransportError as failure:
                failed = failure
            except BaseException:
                self._count(answer, partial=True)
                raise
            else:
                self._count(answer, partial=False)
                break
            if not await self._goes_on(answer, failed):
                self._tries.log_end(failed)
                self._count(answer, partial=True)
                raise failed
        self._learn()
        for event in last_events:
            yield event

    @property
    def _mode(self) -> Continue:
        # A model that has reasoned cannot go on, because it forgets its reasoning. No event tells of hidden reasoning.
        if self._quirks.think == "hide" or self._refused_rest or self._model in self._learned.cannot_continue:
            return "off"
        return self._quirks.continues

    @property
    def _asks_for_usage(self) -> bool:
        return self._quirks.stream_options and not (self._refused_usage or self._learned.refuses_stream_options)

    async def _ask(self, answer: StreamedAnswer) -> AsyncGenerator[dict[str, Any]]:
        request = self._whole if self._rest is None else self._rest
        if self._asks_for_usage:
            request = {**request, "stream_options": {"include_usage": True}}
        key = f"/rest-{self._continuations}" if self._continuations else ""  # another request has another key
        async with aclosing(self._exchange(request, key, str(self._tries), answer)) as events:
            async for event in events:
                for shown in (*self._say_beginning(), *self._progress.take(event)):
                    yield shown

    def _say_beginning(self) -> list[dict[str, Any]]:
        unsaid, self._unsaid = self._unsaid, []
        return unsaid

    async def _goes_on(self, answer: StreamedAnswer, failed: BackendTransportError) -> bool:
        """Prepare another request, and wait until it may be sent. Returns False if there is none."""
        if not answer.began:
            return self._asks_differently(failed) or await self._tries.again(failed)
        rest = self._progress.go_on(self._whole, self._mode)
        if rest is None or not await self._tries.again(failed):
            return False
        self._count(answer, partial=True)
        self._rest, self._continuations = rest, self._continuations + 1
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

    def _count(self, answer: StreamedAnswer, *, partial: bool) -> None:
        if answer.responded:
            self._on_call(answer.call(self._model, partial=partial))
