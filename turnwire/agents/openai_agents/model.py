"""Makes the requests of the SDK's models steps of a turn."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from agents import Model, ModelProvider, ModelResponse, Usage
from openai.types.responses import Response, ResponseCompletedEvent
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from turnwire import ModelCall, Turn, TurnFailure
from turnwire.agents.inside import inside, is_inside
from turnwire.agents.model_step import Answered, call_delta, model_step, reasoning_delta, text_delta
from turnwire.agents.outlet import Outlet


class Requests:
    """The model requests of one run: they are numbered, because each answer has text parts of its own."""

    def __init__(self, turn: Turn, outlet: Outlet) -> None:
        self._turn = turn
        self._outlet = outlet
        self._count = 0

    async def ask(self, model: Model, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Response:
        """Ask a model in a step, and return what it answered, on every attempt the same."""
        self._count += 1
        number = self._count

        async def ask() -> Answered:
            with inside():
                response = await self._streamed(model, number, args, kwargs)
            return Answered(response.model_dump(mode="json", warnings=False), _call_of(name, response))

        return Response.model_validate(await model_step(self._turn, self._outlet, f"model:{name}", name, ask))

    async def _streamed(self, model: Model, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Response:
        items = []
        async with aclosing(model.stream_response(*args, **kwargs)) as stream:
            async for event in stream:
                for shown in _events_of(event, number):
                    await self._outlet.put(shown)
                if event.type == "response.output_item.done":
                    items.append(event.item)
                elif isinstance(event, ResponseCompletedEvent):
                    # Some servers leave the items out of the last event.
                    output = event.response.output or items
                    return event.response.model_copy(update={"output": output})
        raise TurnFailure("the model's answer stopped before its end", code="model_truncated", retryable=True)


class StepModel(Model):
    """A model whose requests are steps. `name` is its name in the ledger."""

    def __init__(self, model: Model, name: str, requests: Requests) -> None:
        self._model = model
        self._name = name
        self._requests = requests

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """Ask the model in a step; the events of its stream are those of the turn."""
        if is_inside():
            return await self._model.get_response(*args, **kwargs)
        response = await self._requests.ask(self._model, self._name, args, kwargs)
        return ModelResponse(output=response.output, usage=_usage_of(response), response_id=response.id)

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Stream an answer. Only what runs inside a step asks for one."""
        assert is_inside(), "a run asks for whole responses"
        return self._model.stream_response(*args, **kwargs)

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()


def step_model(model: Model, requests: Requests) -> StepModel:
    """Make the requests of a model steps. In the ledger, it has the name that the SDK's own models have as `model`."""
    return StepModel(model, str(getattr(model, "model", type(model).__name__)), requests)


class StepModels(ModelProvider):
    """Looks models up by name, and makes their requests steps."""

    def __init__(self, provider: ModelProvider, requests: Requests) -> None:
        self._provider = provider
        self._requests = requests

    def get_model(self, model_name: str | None) -> Model:
        """Return the model of this name."""
        return StepModel(self._provider.get_model(model_name), model_name or "default", self._requests)

    async def aclose(self) -> None:
        """Close the models."""
        await self._provider.aclose()


def _events_of(event: Any, number: int) -> list[dict[str, Any]]:
    match event.type:
        case "response.output_text.delta" | "response.refusal.delta":
            return [text_delta(f"text-{number}-{event.output_index}-{event.content_index}", event.delta)]
        case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
            return [reasoning_delta(event.delta)]
        case "response.output_item.added" if event.item.type == "function_call":
            return [call_delta(event.output_index, event.item.call_id, event.item.name, "")]
        case "response.function_call_arguments.delta":
            return [call_delta(event.output_index, None, None, event.delta)]
    return []


def _call_of(name: str, response: Response) -> ModelCall:
    usage = response.usage
    if usage is None:
        return ModelCall(name)
    cached = usage.input_tokens_details.cached_tokens if usage.input_tokens_details else None
    reasoning = usage.output_tokens_details.reasoning_tokens if usage.output_tokens_details else None
    return ModelCall(name, usage.input_tokens, usage.output_tokens, response.status, cached or None, reasoning or None)


def _usage_of(response: Response) -> Usage:
    usage = response.usage
    if usage is None:
        return Usage(requests=1)
    return Usage(
        requests=1,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        input_tokens_details=usage.input_tokens_details or InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
        output_tokens_details=usage.output_tokens_details or OutputTokensDetails(reasoning_tokens=0),
    )
