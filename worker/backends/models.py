"""Asks the models of a file (TURNWIRE_MODELS_FILE): the one that a turn names, or the next if that one is down."""

import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, Self

from turnwire.shared.errors import SettingsError
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import TurnError
from turnwire.shared.models_file import SETTING, parse_models_file
from turnwire.shared.settings import Settings
from turnwire.shared.watched_file import WatchedFile
from turnwire.worker.backends.errors import BackendTransportError, UnknownModelError
from turnwire.worker.backends.fitting import TRIMMED, LeftOut, fit, room
from turnwire.worker.backends.model_servers import ModelServers, ServedModel, ServedModels
from turnwire.worker.backends.openai import call_key, origin_of
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.turn.turn import Turn

logger = logging.getLogger(__name__)

FALLBACK: Final = "model.fallback"
_OF_THE_SERVER: Final = frozenset({"quota", "rate_limit", "overloaded"})  # reasons that another server may not have


class Models:
    """The models of a file. It is read again when it has changed; calls that have begun go on as they are.

    Args:
        settings: with `models_file`; its `llm_*` are the retries and deadlines of models without their own.
        environ: the variables that hold keys.

    Raises:
        SettingsError: the file cannot be used, or a key that it names is missing. The text names the table and the key.
    """

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not settings.models_file:
            raise SettingsError(f"{SETTING}: not set, so there are no models to ask")
        self._servers = ModelServers(settings, environ)
        self._where = f"{SETTING}: {settings.models_file}"
        self._served = WatchedFile(
            self._where, settings.models_file, self._read, clock=clock, parse_in_thread=False
        )  # fmt: skip

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the file that `TURNWIRE_MODELS_FILE` of `environ` names, by default of the process's environment.

        Raises:
            SettingsError: as above, or a variable is unknown or does not fit.
        """
        variables = os.environ if environ is None else environ
        return cls(Settings.from_env(variables), variables)

    @property
    def continue_answers(self) -> bool:
        """Whether a model of the file is asked for the rest of an answer that broke off."""
        return any(model.quirks.continues != "off" for model in self._served.content.models.values())

    async def aclose(self) -> None:
        """Close the connections to every server. It may be called again."""
        await self._servers.aclose()

    async def ask(
        self,
        turn: Turn,
        messages: Sequence[Mapping[str, Any]],
        *,
        model: str | None = None,
        name: str | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
        begun: Sequence[ChatStreamEvent] = (),
    ) -> AsyncGenerator[dict[str, Any]]:
        """Stream the answer to `messages` as events, and count each call in `turn.usage`.

        The model's system prompt is put in front, unless there is one already. The oldest turns are left out if the
        messages would not fit into the model's context; then `history.trimmed` says so. If a model is down or
        overloaded before its answer began, `model.fallback` says so, and the next one is asked.

        Args:
            turn: the turn that the answer is for.
            messages: as in the chat completions API, oldest first.
            model: the model to ask, a name of the file; None: the turn's, or the default.
            name: tells several calls of one turn apart, because no two may share an idempotency key.
            tools: the tools that the model may call, as in the API.
            options: more fields of the request, which replace the model's `parameters`, but not its `body`.
            begun: as for `OpenAIBackend.stream`. A fallback does not go on with the text of another model.

        Raises:
            UnknownModelError: the file lists no such model, or the turn's tenant may not ask it.
            BackendTransportError: the last model that was asked did not give a whole answer.
        """
        served = self._served.content
        chosen = _chosen(served, turn, model)
        system = chosen.listed.system
        if system is not None and not (messages and messages[0].get("role") in {"system", "developer"}):
            messages = [{"role": "system", "content": system}, *messages]
        queue = _queue(served, chosen, turn)
        for position, asked in enumerate(queue):
            has_begun = False
            try:
                async with aclosing(_asking(asked, turn, messages, position, name, tools, options, begun)) as events:
                    async for event in events:
                        has_begun = has_begun or event["type"] != TRIMMED
                        yield event
            except BackendTransportError as failure:
                if has_begun or position == len(queue) - 1 or not _is_down(failure):
                    raise
                other = queue[position + 1].name
                logger.warning("%s: the model %r failed, %r is asked: %s", turn.run_id, asked.name, other, failure)
                yield {"type": FALLBACK, "data": {"model": other, "insteadOf": asked.name, "code": failure.told_code}}
            else:
                return

    async def stop(self, turn: Turn, *, model: str | None = None, name: str | None = None) -> None:
        """Let a server stop an answer of `ask` that it goes on with by itself; see `OpenAIBackend.stop`."""
        served = self._served.content
        with suppress(UnknownModelError):
            for position, asked in enumerate(_queue(served, _chosen(served, turn, model), turn)):
                call, headers = _call_name(name, position), asked.headers(turn.tenant_id)
                await asked.backend.stop_call(turn, call, asked.real_name, asked.quirks, headers)

    def _read(self, text: str) -> ServedModels:
        return self._servers.serve(parse_models_file(text, self._where), self._where)


class ModelsHooks(ChatTurnHooks):
    """The hooks of a worker that was given a file of models: they send the history and the message to the model."""

    def __init__(self, models: Models) -> None:
        self._models = models

    @property
    def continues_answers(self) -> bool:  # type: ignore[override]  # it depends on the file
        """Whether a model of the file goes on with the text that an attempt had streamed before its worker died."""
        return self._models.continue_answers

    async def produce(self, turn: Turn) -> AsyncGenerator[dict[str, Any]]:
        """Stream the answer of the model that the turn asks.

        Raises:
            UnknownModelError, BackendTransportError: see `Models.ask`.
        """
        messages = [*turn.history(), {"role": "user", "content": turn.message}]
        answer = self._models.ask(turn, messages, options=turn.options, begun=turn.partial_events)
        async with aclosing(answer) as events:
            async for event in events:
                yield event

    async def on_turn_failed(self, turn: Turn, error: TurnError, partial_text: str) -> None:  # noqa: ARG002
        """Let the servers stop an answer that they go on with by themselves, although the turn has ended."""
        await self._models.stop(turn)

    async def aclose(self) -> None:
        """Close the connections to every server."""
        await self._models.aclose()


def _queue(served: ServedModels, chosen: ServedModel, turn: Turn) -> list[ServedModel]:
    """Return the models that are asked for a turn, one after the other."""
    return [chosen, *(served.models[other] for other in served.file.fallbacks(chosen.name, turn.tenant_id))]


def _chosen(served: ServedModels, turn: Turn, model: str | None) -> ServedModel:
    name = model if model is not None else served.file.asked(turn.model, turn.tenant_id)
    if name is None or name not in served.models:
        # The API has accepted the turn, so its file is another one: most likely, a new file is being rolled out.
        raise UnknownModelError("the worker does not offer the model of this turn", retryable=True)
    return served.models[name]


async def _asking(
    asked: ServedModel,
    turn: Turn,
    messages: Sequence[Mapping[str, Any]],
    position: int,
    name: str | None,
    tools: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any] | None,
    begun: Sequence[ChatStreamEvent],
) -> AsyncGenerator[dict[str, Any]]:
    """Ask one model. `position`: how many were asked before it."""
    request, left_out = asked.options(options), LeftOut(asked.name)
    if asked.listed.context_tokens is not None:
        fitted = fit(messages, room(asked.listed.context_tokens, request))
        messages = fitted.messages
        left_out = LeftOut(asked.name, fitted.dropped_turns)
        if fitted.dropped_turns:
            yield left_out.event()
            begun = begun[1:] if begun and begun[0].type == TRIMMED else begun  # this one is said already
    call = _call_name(name, position)
    answer = asked.backend.stream(
        messages,
        tools=tools,
        options=request,
        model=asked.real_name,
        headers=asked.headers(turn.tenant_id),
        idempotency_key=call_key(turn, call),
        on_call=asked.counted_by(turn.usage.add),
        quirks=asked.quirks,
        origin=origin_of(turn, call),
        left_out=left_out,
        begun=() if position else begun,
    )
    async with aclosing(answer) as events:
        async for event in events:
            yield event


def _call_name(name: str | None, position: int) -> str:
    """Return the name of a call, of which there is one for each model that is asked in place of another."""
    return "/".join(filter(None, [name, f"fallback-{position}" if position else None]))


def _is_down(failure: BackendTransportError) -> bool:
    """Whether another server may well answer what this one did not."""
    return failure.retryable or failure.reason in _OF_THE_SERVER
