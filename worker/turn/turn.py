"""The object through which a producer and the other hooks see their turn."""

import copy
import secrets
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import msgspec

from turnwire.shared.content import text_of_content
from turnwire.shared.events import OWN_EVENT_PREFIX, ChatStreamEvent
from turnwire.shared.model import Claimed
from turnwire.shared.request import NO_PARENT
from turnwire.shared.store.findings import Findings
from turnwire.shared.tracing import TraceContext
from turnwire.worker.turn.accumulator import text_of
from turnwire.worker.turn.history import Message
from turnwire.worker.turn.meter import Meter
from turnwire.worker.turn.step_request import StepPolicy, StepRequest
from turnwire.worker.turn.steps import Steps

_event: Final = msgspec.json.Decoder(ChatStreamEvent)
_MESSAGE_IDS: Final = uuid.UUID("6f1c4f0e-55a6-5b0c-8f3f-4f1f5d0e9c11")


class Turn:
    """One attempt of one turn.

    Attributes:
        run_id: str, `chat:<session>:<index>`.
        session_id, turn_index, tenant_id: str, int, str: the session, the index in it, and the tenant.
        message: the user's message: a str, or a list of parts if the client sent more than one text. A part is a dict
            as the client sent it; its `type` is text, image_url, input_file or input_audio.
        text: str, the text of the message; the texts of several parts are on lines of their own.
        options: dict, what the client wants of the model: temperature, max_tokens, …; {} if it gave none.
        traceparent, tracestate: str, the W3C trace context of this attempt if traces are on; otherwise that of the
            client's request, or None.
        parent: int, the index of the turn that this one follows; None if it begins a conversation.
        user_id, project, domain, model: str as the client gave it, or None.
        metadata: dict, the client's JSON object; {} if it gave none.
        attempt: int, 1 for the first run of the turn.
        created_at: int, Redis time in ms when the turn was accepted. Together, `run_id` and `created_at` name this turn
            and never another one.
        usage: call `usage.add(ModelCall(…))` after each call of a model. `usage.model_calls`, `tokens_in`,
            `tokens_out`, `cost_nanos` and `currency` tell what all attempts have used so far, as far as it is known.
    """

    def __init__(
        self,
        claimed: Claimed,
        earlier: list[Message],
        usage: Meter,
        steps: Steps,
        stopping: Callable[[], bool] = lambda: False,
        trace: TraceContext | None = None,
    ) -> None:
        record = claimed.record
        self.run_id = record.run_id
        self.session_id = record.session_id
        self.turn_index = record.turn_index
        self.tenant_id = record.tenant_id
        self.message: Any = record.message
        self.text = text_of_content(record.message)
        self.options: dict[str, Any] = record.options or {}
        self.traceparent = trace.traceparent if trace is not None else record.traceparent
        self.tracestate = trace.tracestate if trace is not None else record.tracestate
        self.parent = None if record.parent == NO_PARENT else record.parent
        self.user_id = record.user
        self.project = record.project
        self.domain = record.domain
        self.model = record.model
        self.metadata: dict[str, Any] = record.metadata or {}
        self.attempt = claimed.attempt
        self.created_at = record.created_at
        self._named = f"{record.run_id}/{record.created_at}"  # a product may change the attributes
        self.usage = usage
        self._earlier = earlier
        self._steps = steps
        self._stopping = stopping
        self._cut = claimed.cut
        self.count_left: Callable[[], int] = lambda: 0  # for the worker: how many events are not yielded again yet
        self.moves: Callable[[], bool] = lambda: False  # for the worker: whether another attempt goes on with the turn
        self.findings: Findings | None = None  # for backends: what all workers know about model servers

    @cached_property
    def message_id(self) -> str:
        """str: a UUID, the id under which to persist the answer. It is the same on every attempt."""
        return str(uuid.uuid5(_MESSAGE_IDS, self._named))

    @property
    def cancelled(self) -> bool:
        """bool: True from the moment at which this attempt is stopped. Any thread may read it.

        An attempt is stopped when the turn is cancelled or reaches its time limit, when the lease is lost, when the
        worker drains and its time is up, and when another task of the producer waits for a signal. A coroutine need not
        ask, because its next await raises `CancelledError`. A plain function runs in a thread, which nothing
        interrupts. It should look here between two pieces of its work, and return.
        """
        return self._stopping()

    @cached_property
    def partial_text(self) -> str:
        """str: the text that the attempt before this one had streamed after its last completed step; '' if none.

        The client was told to drop this text, unless the hooks say that they continue answers. To continue where the
        answer broke off, yield it again, then the rest. Do not rely on it. It is '' as well if the turn was asked
        again, or if Redis's reply to the claim was lost.
        """
        return text_of(self._cut)

    @property
    def partial_events(self) -> list[ChatStreamEvent]:
        """list[ChatStreamEvent]: what the attempt before this one had streamed after its last completed step.

        Those that `produce` has yielded again already are left out. Pass the others on as `begun` of
        `OpenAIBackend.ask`, and a model that can goes on where its answer broke off. The list is empty if the hooks do
        not say that they continue answers.
        """
        left = self._cut[max(len(self._cut) - self.count_left(), 0) :]
        return [_event.decode(event) for event in left if not event.startswith(OWN_EVENT_PREFIX)]

    def show_streamed(self, events: list[bytes]) -> None:
        """Let `partial_events` be these. It is for the worker, for a turn that has ended."""
        self._cut = events
        self.count_left = lambda: len(events)

    def step(
        self,
        intent: str,
        work: Callable[[], Any],
        *,
        kind: str = "logic",
        input: Any = None,  # noqa: A002 - the word of the contract
        retries: int = 0,
        backoff_s: float = 0.5,
        timeout: float | None = None,
    ) -> Awaitable[Any]:
        """Run `work`, and store its result. Once it has completed, later attempts get the stored result instead.

        Await the returned object for the result.

        Args:
            intent: a name that says what the step does. Another name at the same position is a divergence.
            work: a coroutine function, or a plain function, which runs in a thread. It must return JSON.
            kind: a word for operators: logic, llm, tool, deterministic, …
            input: JSON that the step depends on. If a later attempt gives other input, that is a divergence, too.
            retries: how often `work` is run again in this attempt if it raises.
            backoff_s: seconds before the first retry; doubled for each further one.
            timeout: seconds that each run of `work` may take; None: no limit.

        Returns: the result as JSON gives it back. So a tuple is a list, on the first attempt as well.

        Raises:
            DivergenceError, InputDriftError: an earlier attempt asked for another step here.
            StepResultError: the result or the input is not JSON, or the result is too large. It is not retried.
            NestedStepError: at once, if the work of another step asks for this one.
            MisplacedStepError: at once, if the producer has ended.
            TimeoutError: the last run of `work` took longer than `timeout`.
            Exception: whatever else the last run of `work` raised.
        """
        return self._steps.step(StepRequest(intent, work, kind, input, StepPolicy(retries, backoff_s, timeout)))

    def stream(
        self,
        intent: str,
        work: Callable[[], Any],
        *,
        kind: str = "llm",
        input: Any = None,  # noqa: A002 - the word of the contract
        retries: int = 0,
        backoff_s: float = 0.5,
    ) -> AsyncGenerator[ChatStreamEvent]:
        """Run a step whose result is its events: `async for event in turn.stream("answer", ask): yield event`.

        Each event passes through as it comes. When `work` has ended, the events are stored as its checkpoint, and only
        then does the loop end. Later attempts read the events from there and do not call `work`. If the loop is left
        early, `work` is closed and nothing is stored. A stream with an `error` event is passed through but not stored,
        so the next attempt runs it again.

        Args:
            intent: as for `step`.
            work: an async generator function, or a function that returns what `produce` may return. The `final_text` of
                a Producer is not called here; yield a `result` event instead.
            kind: as for `step`.
            input: as for `step`.
            retries: how often `work` is run again in this attempt if it raises before its first event.
            backoff_s: seconds before the first retry; doubled for each further one.

        Yields: the events as JSON gives them back, the same on every attempt.

        Raises:
            DivergenceError, InputDriftError, StepResultError, NestedStepError, MisplacedStepError: as for `step`.
            ProducerError: `work` yields something that is not an event.
            TurnFailure: `event_too_large`; or `log_too_large`, if there are more events than a turn may have.
            Exception: whatever else `work` raises.
        """
        return self._steps.stream(StepRequest(intent, work, kind, input, StepPolicy(retries, backoff_s)))

    def closes(self, stream: AsyncGenerator[Any]) -> None:
        """Let the worker close an async generator as soon as `produce` has ended or was stopped.

        Without that, a loop `async for event in stream: yield event` leaves it open when the turn is cancelled. What it
        does in the end, such as counting what was used, then comes too late for the turn. The streams of `stream` are
        closed anyway.

        Args:
            stream: an async generator that `produce` reads. It may have ended by then.
        """
        self._steps.closes(stream)

    def signal(self, key: str, *, timeout: float | None = None) -> Awaitable[Any]:
        """Wait for `POST …/signals/{key}`. Await the returned object for the payload, which is JSON.

        The signal may have come before. If it has not, the turn is suspended: this attempt ends here, and the worker
        gives up the lease, the slot and the job. When the signal comes, another attempt begins and reaches this line
        again. So a turn may wait for days, through restarts of everything. Steps that run in parallel are finished and
        stored before the turn is suspended.

        Args:
            key: 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
            timeout: seconds to wait from now; None: no limit.

        Raises:
            SignalTimeoutError: the signal did not come in time. The timeout is stored like a signal, and whichever of
                the two comes first counts. If the turn fails for it and is asked again, it waits anew.
            DivergenceError, NestedStepError: as for `step`.
            MisplacedStepError: at once, if another hook than `produce` asks.
        """
        return self._steps.signal(key, timeout)

    async def now(self) -> datetime:
        """Return the current time in UTC. It is a step, so every attempt gets the same time."""
        return datetime.fromisoformat(await self._fixed("now", lambda: datetime.now(UTC).isoformat()))

    async def uuid(self) -> uuid.UUID:
        """Return a random UUID. It is a step, so every attempt gets the same one."""
        return uuid.UUID(await self._fixed("uuid", lambda: str(uuid.uuid4())))

    async def random(self) -> float:
        """Return a random number in [0, 1). It is a step, so every attempt gets the same one."""
        return float(await self._fixed("random", lambda: secrets.randbelow(2**53) / 2**53))

    async def _fixed(self, intent: str, make: Callable[[], Any]) -> Any:
        async def made() -> Any:
            return make()

        return await self.step(intent, made, kind="deterministic")

    def history(self) -> list[dict[str, Any]]:
        """Return the completed turns that this one follows as chat messages, oldest first: user, assistant, user, …

        These are its `parent`, the parent of that one, and so on.
        Each message is `{"role": "user" | "assistant", "content": str}`. The content of a user's message may be a list
        of parts, as in `message`. If the product has a hook `history`, the messages are those that it returned.

        The history has at most `TURNWIRE_HISTORY_TURNS` turns (default 50) of `TURNWIRE_HISTORY_BYTES` together
        (default 4 MiB). It leaves out turns that retention has removed, and turns whose answer `transform_final_text`
        has not accepted yet. Once this turn has stored a step or waits for a signal, all its later attempts get the
        same list.
        """
        return copy.deepcopy(self._earlier)
