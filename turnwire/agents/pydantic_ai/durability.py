"""Makes the model requests and the tool calls of a Pydantic AI agent steps of a turn, and its questions signals."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from itertools import count
from typing import Any

from pydantic import JsonValue
from pydantic_ai.capabilities import WrapRunHandler
from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    DurabilityEngineSpec,
    DurableOperationId,
    EventStreamHandlerId,
    ExternalEventError,
    ExternalEventWaiter,
    JournalCallableOperationBackend,
    ModelCompactMessagesId,
    ModelRequestId,
    RoleBasedOperationConfig,
    ToolsetCallToolId,
    external_event_scope,
)
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import (
    DeferredToolApprovalResult,
    DeferredToolRequests,
    DeferredToolResults,
    RunContext,
    ToolApproved,
    ToolDenied,
)

from turnwire import ModelCall, SignalTimeoutError, StepResultError, Turn
from turnwire.agents.inside import inside, is_inside
from turnwire.agents.model_step import Answered, model_step
from turnwire.agents.outlet import Outlet
from turnwire.agents.pydantic_ai.events import call_data, events_of

Body = Callable[[], Awaitable[object]]


class TurnDurability(BaseDurabilityCapability[Any]):
    """The capability that makes one run of an agent durable. Each run has one of its own."""

    engine_spec = DurabilityEngineSpec(
        engine_name="Turnwire",
        durable_unit_noun="step",
        durable_container_noun="turn",
        codec=JSON_CODEC,
        serialization_failure=lambda error: StepResultError(f"the result of a step is not JSON: {error}"),
        toolset_lifecycles={"function": "enter-always", "mcp": "enter-in-durable-unit", "dynamic": "enter-never"},
        sequential_tools_in_durable_context=True,  # steps are known by their order
    )

    def __init__(
        self, turn: Turn, outlet: Outlet, name: str, signal_timeout_s: float | None, models: Mapping[str, Model]
    ) -> None:
        super().__init__(models=models, event_stream_handler=self._show, name=name)
        self._turn = turn
        self._outlet = outlet
        self._backend = StepBackend(turn, outlet, name)
        self._signals = Signals(turn, outlet, signal_timeout_s)

    @property
    def in_durable_context(self) -> bool:
        """True in the code of the agent; False in the work of a step."""
        return not is_inside()

    def get_durable_operation_backend(self) -> "StepBackend":
        """Return the backend of this run."""
        return self._backend

    async def _show(self, _ctx: RunContext[Any], events: Any) -> None:
        """Pass on the events of a model request while they come, and those of the tools one by one."""
        async for event in events:
            for shown in events_of(event, self._backend.requests):
                await self._outlet.put(shown)

    async def wrap_run(self, ctx: RunContext[Any], *, handler: WrapRunHandler) -> AgentRunResult[Any]:
        """Let the run wait for signals where Pydantic AI waits for an event from outside."""
        with external_event_scope(self._signals):
            return await super().wrap_run(ctx, handler=handler)

    async def handle_deferred_tool_calls(
        self,
        ctx: RunContext[Any],  # noqa: ARG002 - as in Pydantic AI
        *,
        requests: DeferredToolRequests,
    ) -> DeferredToolResults | None:
        """Wait for the signals that approve, refuse or answer these tool calls."""
        if not self.in_durable_context:
            return None
        return await self._signals.results_of(requests)


class StepBackend(JournalCallableOperationBackend[None]):
    """Runs the operations of one run as steps. `requests`: how many model requests there were so far."""

    def __init__(self, turn: Turn, outlet: Outlet, name: str) -> None:
        super().__init__(
            agent_name=name, config=RoleBasedOperationConfig(model=None, event=None, capability=None, tool=None)
        )
        self.requests = 0
        self._turn = turn
        self._outlet = outlet

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Body,
        cache_key: tuple[object, ...],  # noqa: ARG002 - of other engines: a step is known by its position
        config: None,  # noqa: ARG002 - there is nothing to configure
    ) -> object:
        """Run `body` as the step `name`, unless it is stored already."""
        if isinstance(operation_id, EventStreamHandlerId):
            return await body()  # it only passes the event on, and every attempt has to do that
        if isinstance(operation_id, ModelRequestId):
            return await self._ask(name, operation_id.model_name, body)

        async def work() -> object:
            with inside():
                payload = await body()
            if isinstance(operation_id, ModelCompactMessagesId):
                self._turn.usage.add(_call_of(operation_id.model_name, payload))
            return payload

        kind = "tool" if isinstance(operation_id, ToolsetCallToolId) else "logic"
        return await self._turn.step(name, work, kind=kind)

    async def _ask(self, name: str, model: str, body: Body) -> object:
        self.requests += 1

        async def ask() -> Answered:
            with inside():
                payload: Any = await body()
            return Answered(payload, _call_of(model, payload), payload.get("provider_name"))

        return await model_step(self._turn, self._outlet, name, model, ask)


def _call_of(model: str, response: Any) -> ModelCall:
    """Return the ledger's view of a response of Pydantic AI. Both counts are 0 if nobody has counted."""
    usage = response.get("usage") or {}
    tokens_in, tokens_out = usage.get("input_tokens") or 0, usage.get("output_tokens") or 0
    if not tokens_in and not tokens_out:
        return ModelCall(model, finish_reason=response.get("finish_reason"))
    return ModelCall(
        model,
        tokens_in,
        tokens_out,
        response.get("finish_reason"),
        usage.get("cache_read_tokens") or None,
        (usage.get("details") or {}).get("reasoning_tokens"),
    )


class Signals(ExternalEventWaiter):
    """Waits for the answers from outside that one run needs. Each has a key of its own: a yes is for one call."""

    def __init__(self, turn: Turn, outlet: Outlet, timeout_s: float | None) -> None:
        self._turn = turn
        self._outlet = outlet
        self._timeout_s = timeout_s
        self._numbers = count(1)

    async def results_of(self, requests: DeferredToolRequests) -> DeferredToolResults:
        """Say in events which calls wait, then wait for one signal after the other.

        Raises:
            SignalTimeoutError: the result of a call did not come in time. An approval in time that did not come is no.
        """
        calls = [(call, self._key(requests, call)) for call in (*requests.approvals, *requests.calls)]
        for call, key in calls:
            data = {**call_data(call), "kind": requests.kind(call.tool_call_id), "signal": key}
            await self._outlet.put({"type": "tool.call.deferred", "data": data})
        results = DeferredToolResults()
        approvals = {call.tool_call_id for call in requests.approvals}
        for call, key in calls:
            if call.tool_call_id in approvals:
                results.approvals[call.tool_call_id] = await self._approval(key)
            else:
                results.calls[call.tool_call_id] = await self._signal(key)
        return results

    def _key(self, requests: DeferredToolRequests, call: ToolCallPart) -> str:
        return f"{requests.kind(call.tool_call_id)}-{next(self._numbers)}"

    async def _signal(self, key: str, timeout_s: float | None = None) -> Any:
        await self._outlet.drained()  # the client must see what is asked before the turn is suspended
        return await self._turn.signal(key, timeout=self._timeout_s if timeout_s is None else timeout_s)

    async def _approval(self, key: str) -> DeferredToolApprovalResult:
        try:
            said = await self._signal(key)
        except SignalTimeoutError:
            return ToolDenied("Nobody has answered in time.")
        if not isinstance(said, dict) or said.get("ok") is not True:
            message = said.get("message") if isinstance(said, dict) else None
            return ToolDenied(message) if isinstance(message, str) else ToolDenied()
        arguments = said.get("arguments")
        return ToolApproved(override_args=arguments if isinstance(arguments, dict) else None)

    async def wait(
        self, name: str, *, ask: Callable[[str], Awaitable[JsonValue]], timeout: timedelta | None
    ) -> JsonValue:
        """Ask once, in a step, with the signal's key as the token. Then wait for that signal, if nobody answered."""
        key = f"event-{next(self._numbers)}"

        async def work() -> JsonValue:
            with inside():
                return await ask(key)

        answer: JsonValue = await self._turn.step(name, work)
        if answer is not None:
            return answer
        try:
            payload: JsonValue = await self._signal(key, None if timeout is None else timeout.total_seconds())
        except SignalTimeoutError as error:
            raise ExternalEventError(str(error)) from error
        return payload
