"""The turn, as a producer and the other hooks see it."""

import secrets
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from turnwire.shared.events import ChatStreamEvent
from turnwire.shared.model import Claimed
from turnwire.worker.turn.accumulator import text_of
from turnwire.worker.turn.asked import Asked, StepPolicy
from turnwire.worker.turn.history import Message
from turnwire.worker.turn.meter import Meter
from turnwire.worker.turn.steps import Steps

_MESSAGE_IDS: Final = uuid.UUID("6f1c4f0e-55a6-5b0c-8f3f-4f1f5d0e9c11")


class Turn:
    """One attempt of one turn.

    Attributes:
        run_id: `chat:<session>:<index>`
        session_id, turn_index, tenant_id: its parts
        message: the user's message
        user_id, project, domain, model: what the client gave, or None
        metadata: the client's JSON object, {} if it gave none
        attempt: 1 for the first run of the turn
        created_at: when the turn was accepted, Redis time in ms: with `run_id` it names this turn and never another one
        message_id: id of the assistant's message, a UUID text, equal on every attempt: the key to persist it under
        usage: `usage.add(ModelCall(…))` counts a model call
    """

    def __init__(
        self,
        claimed: Claimed,
        earlier: list[Message],
        usage: Meter,
        steps: Steps,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        record = claimed.record
        self.run_id = record.run_id
        self.session_id = record.session_id
        self.turn_index = record.turn_index
        self.tenant_id = record.tenant_id
        self.message = record.message
        self.user_id = record.user
        self.project = record.project
        self.domain = record.domain
        self.model = record.model
        self.metadata: dict[str, Any] = record.metadata or {}
        self.attempt = claimed.attempt
        self.created_at = record.created_at
        self.message_id = str(uuid.uuid5(_MESSAGE_IDS, f"{record.run_id}/{record.created_at}"))
        self.usage = usage
        self._earlier = earlier
        self._steps = steps
        self._stopping = stopping
        self._cut = claimed.cut

    @property
    def cancelled(self) -> bool:
        """True from the moment this attempt is being stopped; it stays True. May be read in any thread.

        Stopped by: a cancel; a lost lease; a worker that drains, once its time is up; the turn's own timeout; a signal
        that another task of the producer waits for. Coroutines need not ask, they get `CancelledError` at their next
        await, and see True from there; a plain function, which runs in a thread, is not interrupted: it should look
        here between two pieces of its work, and return.
        """
        return self._stopping()

    @cached_property
    def partial_text(self) -> str:
        """The text that the attempt before this one had streamed after its last completed step, '' if there is none.

        The client was told to drop it. Good for going on where the answer broke off: yield it again, then the rest. Do
        not rely on it: '' also if the turn was asked again, or if Redis's answer to the claim was lost on its way.
        """
        return text_of(self._cut)

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
        """Run `work` once per turn, ever; await it for its result, which later attempts get from its checkpoint.

        Args:
            intent: what the step is; another one at the same position is a divergence.
            work: a coroutine function, or a plain one, which runs in a thread. It returns JSON.
            kind: for operators: logic, llm, tool, deterministic, …
            input: JSON; if it differs from an earlier attempt's, that is a divergence too.
            retries: how often a `work` that raises is run again in this attempt.
            backoff_s: before the first retry; doubled each time.
            timeout: seconds for each run of `work`; None: no limit.

        Returns: the result as JSON gives it back: tuples are lists, also the first time.

        Raises:
            DivergenceError, InputDriftError: the producer took another way than an earlier attempt.
            StepResultError: the result or the input is not JSON, or the result is too large. It is not retried.
            NestedStepError: at once, where the work of another step asks for this one.
            TimeoutError: the last run of `work` took longer than `timeout`.
            Exception: whatever else `work` raises the last time.
        """
        return self._steps.step(Asked(intent, work, kind, input, StepPolicy(retries, backoff_s, timeout)))

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
        """A step whose result is its events: `async for event in turn.stream("answer", ask): yield event`.

        Events pass through as they come. When `work` has ended, they are its checkpoint, before the loop ends; later
        attempts get them from there and do not call `work`. A loop that is left early closes `work` and stores nothing.
        A stream with an `error` event passes through too, but is not kept: it is run again on the next attempt.

        Args:
            intent: as of a step.
            work: an async generator function, or one that returns what `produce` may return. Called in the event loop.
                A Producer's `final_text` is not asked for: yield a `result`.
            kind: as of a step.
            input: as of a step.
            retries: how often a `work` that raises before its first event is run again in this attempt.
            backoff_s: before the first retry; doubled each time.

        Yields: the events as JSON gives them back: on every attempt the same.

        Raises:
            DivergenceError, InputDriftError, StepResultError: as a step.
            ProducerError: `work` yields something that is not an event.
            TurnFailure: `event_too_large`, or `log_too_large`: it has more events than a turn may have.
            Exception: whatever else `work` raises.
        """
        return self._steps.stream(Asked(intent, work, kind, input, StepPolicy(retries, backoff_s)))

    def signal(self, key: str, *, timeout: float | None = None) -> Awaitable[Any]:
        """Wait for `POST …/signals/{key}`; await it for the payload, which may have come before.

        Until the signal comes, the turn is suspended: this attempt ends here, its lease, slot and job are given up, and
        the next attempt comes to this line again. So it may wait for days, and restarts of everything do not matter.
        Steps that run beside it end first, and are stored.

        Args:
            key: 1 to 128 of `A-Z a-z 0-9 . _ -`.
            timeout: seconds from now; None: no limit.

        Raises:
            SignalTimeoutError: it did not come in time. Stored like a signal: the first of the two wins. A turn
                that ends so and is asked again waits anew.
            DivergenceError: as for a step.
        """
        return self._steps.signal(key, timeout)

    async def now(self) -> datetime:
        """The time, UTC: the same on every attempt."""
        return datetime.fromisoformat(await self._fixed("now", lambda: datetime.now(UTC).isoformat()))

    async def uuid(self) -> uuid.UUID:
        """A random UUID: the same on every attempt."""
        return uuid.UUID(await self._fixed("uuid", lambda: str(uuid.uuid4())))

    async def random(self) -> float:
        """A random number in [0, 1): the same on every attempt."""
        return float(await self._fixed("random", lambda: secrets.randbelow(2**53) / 2**53))

    async def _fixed(self, intent: str, make: Callable[[], Any]) -> Any:
        async def made() -> Any:
            return make()

        return await self.step(intent, made, kind="deterministic")

    def history(self) -> list[dict[str, str]]:
        """The session's earlier completed turns as chat messages, oldest first: user, assistant, user, …

        At most the last `TURNWIRE_HISTORY_TURNS` turns (default 50) with `TURNWIRE_HISTORY_BYTES` of text (default
        4 MiB), and none that retention has removed, nor one whose answer `transform_final_text` has not accepted yet.
        Once the turn has stored a step or waits for a signal, it is the same on all its later attempts, whatever ends
        meanwhile.
        """
        return [{"role": message.role, "content": message.content} for message in self._earlier]
