"""Makes a model request of an agent a step that holds its events, and packs them, because most are a few characters."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from turnwire import ChatStreamEvent, ModelCall, Turn
from turnwire.agents.outlet import Outlet
from turnwire.backends import ModelRequest, model_request
from turnwire.shared.tracing import Span, inside, tracing

_TEXT: Final = "message.part.updated"
_REASONING: Final = "reasoning.delta"

Packed = list[str] | dict[str, Any]

# A turn may run several agents, so its requests are numbered over all of them.
_numbers: Final[WeakKeyDictionary[Turn, "count[int]"]] = WeakKeyDictionary()


class Answered(NamedTuple):
    """What a model answered, as JSON, what that used, and the name of the provider; None: nobody says."""

    response: Any
    call: ModelCall
    provider: str | None = None


async def model_step(
    turn: Turn, outlet: Outlet, name: str, model: str, ask: Callable[[], Awaitable[Answered]]
) -> Any:  # fmt: skip
    """Return the response of a model, as JSON gives it back. A later attempt takes it, and its events, from the step.

    If the model asks by the client of `sdk_client`, the answer goes on where an earlier attempt broke off.

    Args:
        turn: the turn whose usage counts the request.
        outlet: it gets the events.
        name: the name of the step.
        model: the name of the model for the ledger.
        ask: asks the model, and puts the events into the outlet while they come.
    """
    live = False
    request = request_name(next(_numbers.setdefault(turn, count(1))))

    async def work() -> dict[str, Any]:
        nonlocal live
        live = True
        await outlet.drained()  # what was yielded again so far is no part of this answer
        begun = _of_one_text(turn.partial_events)
        with (
            outlet.recording() as events,
            model_request(turn, request, begun=begun, model=model, show=outlet.put) as made,
        ):
            answered = await _answered(turn, model, ask, made, events)
        if not made.counted:
            turn.usage.add(answered.call)
        await outlet.drained()
        return {"response": answered.response, "events": [_packed(event) for event in events]}

    kept = await turn.step(name, work, kind="llm")
    if not live:
        for event in kept["events"]:
            await outlet.put(_unpacked(event))
    return kept["response"]


async def _answered(
    turn: Turn, model: str, ask: Callable[[], Awaitable[Answered]], made: ModelRequest, events: Sequence[Any]
) -> Answered:
    """Ask, and count what was used in vain if that fails."""
    try:
        with inside(_span(model)) as span:
            answered = await ask()
            span.set(_known_of(answered))
    except BaseException as error:
        if events and not made.counted:  # the model had begun to answer, and nobody knows how much it used
            turn.usage.add(ModelCall(model))
        if made.failure is not None and isinstance(error, Exception):
            raise made.failure from error  # it says more than what the framework makes of it
        raise
    return answered


def request_name(number: int) -> str:
    """Return the name of a model request of a turn, which is the same on every attempt."""
    return f"request-{number}"


def _of_one_text(begun: Sequence[ChatStreamEvent]) -> Sequence[ChatStreamEvent]:
    """Return these events if a model can go on with them: at most one part of text, and nothing that was called."""
    texts = {event.data["part"]["id"] for event in begun if event.type == _TEXT}
    return begun if len(texts) <= 1 else ()


def _span(model: str) -> Span:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model}
    return tracing.begin(f"chat {model}", attributes, "client")


def _known_of(answered: Answered) -> dict[str, Any]:
    call = answered.call
    known = {
        "gen_ai.provider.name": answered.provider,
        "gen_ai.response.finish_reasons": [call.finish_reason] if call.finish_reason else None,
        "gen_ai.usage.input_tokens": call.tokens_in,
        "gen_ai.usage.output_tokens": call.tokens_out,
    }
    return {name: value for name, value in known.items() if value is not None}


def text_delta(part_id: str, delta: str) -> dict[str, Any]:
    """Return the event of a piece of text."""
    return {"type": _TEXT, "data": {"part": {"type": "text", "id": part_id}, "delta": delta}}


def reasoning_delta(delta: str) -> dict[str, Any]:
    """Return the event of a piece of reasoning."""
    return {"type": _REASONING, "data": {"delta": delta}}


def call_delta(index: int, call_id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    """Return the event of a piece of a tool call."""
    # In this order, the checkpoint gives the fields back, and a later attempt must yield the same bytes.
    data = {"arguments": arguments, "id": call_id, "index": index, "name": name}
    return {"type": "tool.call.delta", "data": data}


def _packed(event: dict[str, Any]) -> Packed:
    """Return the event in few bytes: a delta of text is `[part id, delta]`, one of reasoning is `[delta]`."""
    data = event["data"]
    if event["type"] == _TEXT:
        return [data["part"]["id"], data["delta"]]
    return [data["delta"]] if event["type"] == _REASONING else event


def _unpacked(event: Packed) -> dict[str, Any]:
    """Return the event that was packed."""
    match event:
        case [part_id, delta]:
            return text_delta(part_id, delta)
        case [delta]:
            return reasoning_delta(delta)
        case dict():
            return event
    raise AssertionError("this was not packed")
