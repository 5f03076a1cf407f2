"""A backend for any server that speaks OpenAI's chat completions."""

import os
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Self

import httpx
import msgspec

from turnwire.shared.errors import SettingsError
from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import ModelCall
from turnwire.shared.settings import Settings
from turnwire.shared.store.findings import Findings
from turnwire.worker.backends.call import Call, Learned
from turnwire.worker.backends.errors import UnknownModelError
from turnwire.worker.backends.exchange import ChatExchange
from turnwire.worker.backends.fitting import LeftOut
from turnwire.worker.backends.generation import Origin, names_in
from turnwire.worker.backends.messages import wire_message
from turnwire.worker.backends.probing import Modes
from turnwire.worker.backends.quirks import KEEPS, Quirks
from turnwire.worker.backends.responses import ResponsesExchange
from turnwire.worker.backends.retry import RetryPolicy
from turnwire.worker.backends.transport import Transport
from turnwire.worker.backends.tries import Tries
from turnwire.worker.turn.turn import Turn


class OpenAIBackend:
    """One model server.

    Args:
        base_url: `/chat/completions` is asked below it. An example is `http://127.0.0.1:8080/v1`.
        api_key: sent as a Bearer token; if it is empty or None, no `Authorization` is sent.
        model: the model that is asked unless a call names another one.
        policy: retries and deadlines.
        models: the models that the client of a turn may ask, besides that one.
        client: an HTTP client to use; `aclose` leaves it open. None: the backend makes its own.
        kind: the backend's name in errors.
        quirks: what is particular about the model; None: nothing.
        tells_trace: whether the server gets the headers `traceparent` and `tracestate`, while traces are on.

    Raises:
        SettingsError: the URL is not http(s) with a host, the key does not fit into a header, or there is no model.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        model: str,
        policy: RetryPolicy,
        *,
        models: Collection[str] = (),
        client: httpx.AsyncClient | None = None,
        kind: str = "openai",
        quirks: Quirks | None = None,
        tells_trace: bool = False,
    ) -> None:
        if not model:
            raise SettingsError("the model's name must not be empty")
        self.kind = kind
        self._model = model
        self._askable = {model, *models}
        self._policy = policy
        self._quirks = quirks or Quirks()
        self._learned = Learned()
        self._tells_trace = tells_trace
        self._transport = Transport(base_url, api_key, policy, client, kind)
        self._modes = Modes(str(self._transport.url))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a backend from the variables `TURNWIRE_LLM_*` of `environ`, by default the process's environment.

        Raises:
            SettingsError: a variable is unknown or does not fit, or `TURNWIRE_LLM_BASE_URL` is not set.
        """
        return cls.from_settings(Settings.from_env(os.environ if environ is None else environ))

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make a backend for `TURNWIRE_LLM_BASE_URL`, with the retries and deadlines of the other `TURNWIRE_LLM_*`.

        Raises:
            SettingsError: there is no such URL, or an `llm_*` setting makes no sense.
        """
        if not settings.llm_base_url:
            raise SettingsError("TURNWIRE_LLM_BASE_URL: not set, so there is no model server to ask")
        return cls(
            settings.llm_base_url,
            settings.llm_api_key,
            settings.llm_model,
            retry_policy(settings),
            models=settings.llm_model_names,
            quirks=quirks_of(settings),
            tells_trace=settings.llm_traceparent,
        )

    @property
    def continues_answers(self) -> bool:
        """Whether the model is asked for the rest of an answer that broke off."""
        return self._quirks.continues != "off"

    def __repr__(self) -> str:
        return f"OpenAIBackend(kind={self.kind!r}, model={self._model!r})"

    async def aclose(self) -> None:
        """Close the connections, unless the client was given by the caller. It may be called again."""
        await self._transport.aclose()

    def ask(
        self,
        turn: Turn,
        messages: Sequence[Mapping[str, Any]],
        *,
        name: str | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
        begun: Sequence[ChatStreamEvent] = (),
    ) -> AsyncGenerator[dict[str, Any]]:
        """Ask the model for a turn. Like `stream`, with the turn's `model` if it has one; counts into `turn.usage`.

        A turn that makes several calls must give each of them another `name`, because no two calls may share an
        idempotency key.

        Raises:
            UnknownModelError: the client may not ask the turn's `model`. A key can often ask far dearer models.
            BackendTransportError: as for `stream`.
        """
        if turn.model is not None and turn.model not in self._askable:
            raise UnknownModelError("the turn asks a model that is not offered", retryable=False)
        return self.stream(
            messages,
            tools=tools,
            options=options,
            model=turn.model,
            idempotency_key=call_key(turn, name),
            on_call=turn.usage.add,
            origin=origin_of(turn, name),
            begun=begun,
        )

    def stream(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str,
        on_call: Callable[[ModelCall], None],
        quirks: Quirks | None = None,
        origin: Origin | None = None,
        left_out: LeftOut | None = None,
        begun: Sequence[ChatStreamEvent] = (),
    ) -> AsyncGenerator[dict[str, Any]]:
        """Stream the answer to `messages` as events `{"type", "data"}`. A caller that stops early must close it.

        A request is repeated only until the first piece of the answer has come: text, reasoning or a tool call. If the
        last request got a 2xx response, the call counts as made, and may be billed: `on_call` is called exactly once,
        as `partial` if the answer does not reach its end. Then the model may be asked for the rest, see
        `Quirks.continues`. That is another call, with another idempotency key.

        Args:
            messages: as in the chat completions API, oldest first. Parts may also have the form of `turn.message`.
                `assistant_message` and `tool_message` make the messages of tool calls.
            tools: the tools that the model may call, as in the API. Calls come as `tool.call` events at the end.
            options: more fields of the request (`temperature`, `tool_choice`, …). They replace none of those above.
            model: the model to ask; None: the backend's own.
            headers: more headers of the request.
            idempotency_key: sent with every try of this call.
            on_call: called with the call that was made.
            quirks: what is particular about the model; None: the backend's own.
            origin: names the call in all attempts of its turn; None: no other attempt will make it.
            left_out: what was left out of the history already; None: nothing. If the server refuses the request because
                it is too long, more is left out, once, and the event `history.trimmed` says so.
            begun: the events with which this answer has begun in an earlier attempt. If they are text alone and the
                model goes on with it, the stream begins with them.

        Raises:
            BackendTransportError: there was no 2xx response. Its subclasses say that there is no complete answer.
        """
        asked = model or self._model
        request = {
            **(options or {}),
            **({"tools": tools} if tools else {}),  # servers refuse an empty list
            "model": asked,
            "messages": [wire_message(message) for message in messages],
            "stream": True,
        }
        used = quirks or self._quirks
        exchange = self._exchange({**(headers or {}), "Idempotency-Key": idempotency_key}, used)
        tries = Tries(self._policy, f"model call {idempotency_key}")
        make = partial(
            Call, exchange, request, tries=tries, learned=self._learned,
            kind=self.kind, on_call=on_call, origin=origin or Origin(idempotency_key), begun=begun,
            left_out=left_out or LeftOut(asked),
        )  # fmt: skip
        if used.continues != "auto":
            return make(quirks=used).events()
        return self._found_out(make, used, exchange, asked, origin.findings if origin is not None else None)

    async def _found_out(
        self, make: Callable[..., Call], quirks: Quirks, exchange: ChatExchange, model: str, findings: Findings | None
    ) -> AsyncGenerator[dict[str, Any]]:
        """Stream the answer of a call, once it is known how the model goes on with answers."""
        continues, cannot = await self._modes.of(exchange, model, findings), self._learned.cannot_continue
        cannot.discard(model)  # if this was learned before, the model was tried again since then
        call = make(quirks=msgspec.structs.replace(quirks, continues=continues))
        try:
            async with aclosing(call.events()) as events:
                async for event in events:
                    yield event
        finally:
            if model in cannot:
                await self._modes.replace(model, "off", findings)
            elif call.answer_was_lost:
                await self._modes.forget(model, findings)

    async def stop(self, turn: Turn, *, name: str | None = None) -> None:
        """Let the server stop an answer of `ask`, with the same `name`, that it goes on with by itself.

        `ask` does so when the turn is cancelled. Call this in the hook `on_turn_failed`, for turns whose worker had
        died. It does nothing, and raises nothing, if there is no such answer or the model has another `continues`.
        """
        await self.stop_call(turn, name, turn.model or self._model, self._quirks, {})

    async def stop_call(
        self, turn: Turn, name: str | None, model: str, quirks: Quirks, headers: Mapping[str, str]
    ) -> None:
        """Let the server stop the answer to this call, if it goes on by itself in the model's way to continue."""
        exchange = self._exchange({**headers, "Idempotency-Key": f"{call_key(turn, name)}/stop"}, quirks)
        continues = (
            quirks.continues if quirks.continues != "auto" else await self._modes.of(exchange, model, turn.findings)
        )
        if continues not in KEEPS:
            return
        own = [origin_of(turn, name).generation_id]
        for generation_id in names_in(turn.partial_events) if continues == "responses" else own:
            await exchange.stop(generation_id)

    def _exchange(self, headers: Mapping[str, str], quirks: Quirks) -> ChatExchange:
        make = ResponsesExchange if quirks.continues == "responses" else ChatExchange
        return make(self._transport, self._policy, self.kind, headers, tells_trace=self._tells_trace)


def call_key(turn: Turn, name: str | None) -> str:
    """Return the idempotency key of a call of a turn. `name` tells several calls apart."""
    key = f"{turn.run_id}/{turn.created_at}/{turn.attempt}"
    return f"{key}/{name}" if name else key


def origin_of(turn: Turn, name: str | None) -> Origin:
    """Return which call this is, in whatever attempt it is made."""
    key = f"{turn.run_id}/{turn.created_at}/{name or ''}"
    return Origin(key, resumes=turn.attempt > 1, moves=turn.moves, findings=turn.findings)


def retry_policy(settings: Settings) -> RetryPolicy:
    """Return the retries and deadlines of the `TURNWIRE_LLM_*`.

    Raises:
        SettingsError: they make no sense.
    """
    return RetryPolicy(
        max_attempts=settings.llm_max_attempts,
        initial_backoff_ms=settings.llm_initial_backoff_ms,
        max_backoff_ms=settings.llm_max_backoff_ms,
        jitter=settings.llm_jitter,
        request_timeout_ms=settings.llm_request_timeout_ms,
        first_token_timeout_ms=settings.llm_first_token_timeout_ms,
        idle_timeout_ms=settings.llm_idle_timeout_ms,
    )


def quirks_of(settings: Settings) -> Quirks:
    """Return what the `TURNWIRE_LLM_*` say about the model, and the limits of its answers."""
    return Quirks(
        stream_options=settings.llm_stream_options,
        think=settings.llm_think,
        continues=settings.llm_continue,
        max_answer_bytes=settings.max_log_bytes,
        piece_characters=max(1, min(16_384, settings.max_event_bytes // 16)),
    )
