"""The product that the conformance suite talks to. Each request says in its `metadata` what its turn must do.

`{"play": [action, …], "persist": "raise", "transform": "upper", …, "recorder": URL}`; `plays` instead of `play` is a
list of plays, one per attempt. An action is one of

    {"say": text, "id": part?}   a text delta           {"event": {…}}    this event, unchanged
    {"count": n}                 n text deltas: "0 ", "1 ", …
    {"hold": name}               waits for the test     {"history": true}  an event that shows turn.history()
    {"signal": key, "timeout": s?, "catch": true?}  waits for a signal, then an event that shows its payload
    {"step": intent, "gives": x, "input": x?, "fails": true?}  a step, then an event that shows its result
    {"stream": intent, "says": [text, …], "input": x?}         a stream step of text deltas
    {"fixed": true}              an event that shows turn.now(), uuid(), random()
    {"use": {model, tokens_in, tokens_out}}  reports a model call
    {"raise": {"kind": "plain|failure|http", …}}        {"final_text": text}  what a Producer's final_text() returns

With a `recorder`, every hook call and every piece of work that a step really did is POSTed there. So a test, which runs
in another process, knows which calls the product got.
Deploy it with TURNWIRE_HOOKS=product:hooks and this directory on PYTHONPATH.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx

from turnwire import ChatStreamEvent, ChatTurnHooks, ModelCall, SignalTimeoutError, Turn, TurnFailure

DEFAULT_PLAY = [{"say": "hel"}, {"say": "lo"}]


class ConformanceHooks(ChatTurnHooks):
    """Does what the metadata say, and tells the recorder about each call."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    def produce(self, turn: Turn) -> "Playing":
        return Playing(self, turn)

    async def transform_final_text(self, turn: Turn, text: str) -> Any:
        await self.tell(turn, "transform_final_text", text=text)
        match turn.metadata.get("transform"):
            case "upper":
                return text.upper()
            case "raise":
                raise RuntimeError("transform failed")
        return text

    async def persist_assistant_message(self, turn: Turn, final_text: str) -> None:
        await self.tell(turn, "persist_assistant_message", text=final_text, message_id=turn.message_id)
        await self.obey(turn, "persist")

    async def on_turn_complete(self, turn: Turn, final_text: str) -> None:
        await self.tell(turn, "on_turn_complete", text=final_text)
        await self.obey(turn, "complete")

    async def on_event(self, turn: Turn, event: ChatStreamEvent) -> None:
        if not turn.metadata.get("quiet"):
            await self.tell(turn, "on_event", type=event.type, data=event.data)
        await self.obey(turn, "on_event")

    async def trace_flush(self, turn: Turn) -> None:
        await self.tell(turn, "trace_flush")
        await self.obey(turn, "trace_flush")

    async def obey(self, turn: Turn, hook: str) -> None:
        """Do what is told: `"raise"` raises, `{"hold": name}` waits for the test, None does nothing."""
        order = turn.metadata.get(hook)
        if order == "raise":
            raise RuntimeError(f"{hook} failed")
        if isinstance(order, dict):
            await self.hold(turn, order["hold"])

    async def tell(self, turn: Turn, hook: str, **details: Any) -> None:
        if recorder := turn.metadata.get("recorder"):
            call = {"run_id": turn.run_id, "attempt": turn.attempt, "hook": hook, **details}
            (await self._http().post(f"{recorder}/calls", json=call)).raise_for_status()

    async def hold(self, turn: Turn, name: str) -> None:
        recorder = turn.metadata["recorder"]
        (await self._http().post(f"{recorder}/hold/{name}")).raise_for_status()

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:  # made here, because it belongs to the worker's event loop
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
            self._client = httpx.AsyncClient(timeout=None, trust_env=False, limits=limits)
        return self._client


class Playing:
    """A Producer that plays the actions of its attempt."""

    def __init__(self, hooks: ConformanceHooks, turn: Turn) -> None:
        self._hooks = hooks
        self._turn = turn
        self._final_text = ""
        self.stream = self._play()

    def final_text(self) -> str:
        return self._final_text

    async def _play(self) -> AsyncIterator[dict[str, Any] | ChatStreamEvent]:  # noqa: C901 - one case an action
        turn = self._turn
        await self._hooks.tell(turn, "produce", message=turn.message, model=turn.model, user=turn.user_id)
        try:
            for action in _play_of(turn):
                match action:
                    case {"say": text, **rest}:
                        yield _delta(text, rest)
                    case {"count": count}:
                        for number in range(count):
                            yield _delta(f"{number} ")
                    case {"event": event}:
                        yield event
                    case {"history": _}:
                        yield {"type": "history", "data": {"messages": turn.history()}}
                    case {"hold": name}:
                        await self._hooks.hold(turn, name)
                    case {"signal": key, **rest}:
                        yield {"type": "signal", "data": await _signalled(turn, key, rest)}
                    case {"step": intent, **rest}:
                        work = partial(self._work, intent, rest)
                        yield {"type": "step", "data": {intent: await turn.step(intent, work, input=rest.get("input"))}}
                    case {"stream": intent, **rest}:
                        model = partial(self._model, intent, rest["says"])
                        async for delta in turn.stream(intent, model, input=rest.get("input")):
                            yield delta
                    case {"fixed": _}:
                        fixed = {"now": str(await turn.now()), "uuid": str(await turn.uuid())}
                        yield {"type": "fixed", "data": {**fixed, "random": await turn.random()}}
                    case {"use": call}:
                        turn.usage.add(ModelCall(**call))
                    case {"final_text": text}:
                        self._final_text = text
                    case {"raise": how}:
                        raise _error(how)
        finally:
            await self._hooks.tell(turn, "produce_closed")

    async def _work(self, intent: str, how: dict[str, Any]) -> Any:
        await self._hooks.tell(self._turn, f"step {intent}")
        if how.get("fails"):
            raise RuntimeError(f"{intent} failed")
        return how["gives"]

    async def _model(self, intent: str, texts: list[str]) -> AsyncIterator[dict[str, Any]]:
        await self._hooks.tell(self._turn, f"stream {intent}")
        for text in texts:
            yield _delta(text)


async def _signalled(turn: Turn, key: str, how: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"payload": await turn.signal(key, timeout=how.get("timeout"))}
    except SignalTimeoutError as error:
        if not how.get("catch"):
            raise
        return {"error": type(error).__name__, "code": error.code}


def _delta(text: str, part: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "message.part.updated", "data": {"part": {"type": "text", **(part or {})}, "delta": text}}


def _play_of(turn: Turn) -> list[dict[str, Any]]:
    if plays := turn.metadata.get("plays"):
        return plays[min(turn.attempt, len(plays)) - 1]
    return turn.metadata.get("play", DEFAULT_PLAY)


def _error(how: dict[str, Any]) -> Exception:
    match how["kind"]:
        case "failure":
            return TurnFailure(how["message"], code=how["code"], retryable=how["retryable"])
        case "http":
            request = httpx.Request("POST", "http://model.invalid/v1/chat/completions")
            response = httpx.Response(how["status"], request=request, text=how["body"])
            return _raised(response)
    return RuntimeError(how["message"])


def _raised(response: httpx.Response) -> Exception:
    try:
        response.raise_for_status()
    except httpx.HTTPStatusError as error:
        return error
    raise AssertionError("not an error status")


hooks = ConformanceHooks()
