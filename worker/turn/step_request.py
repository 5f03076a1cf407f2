"""The request of a product for a step, the runs that it may take, and its work."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from turnwire.shared.model import StepRecord
from turnwire.worker.turn.calling import call
from turnwire.worker.turn.limits import CallTimeoutError, call_within


class StepPolicy(msgspec.Struct, frozen=True):
    """How often and when a step that raises is run again within one attempt.

    `timeout_s` limits each run; None: no limit.
    """

    retries: int = 0
    backoff_s: float = 0.5
    timeout_s: float | None = None


class StepRequest(msgspec.Struct, frozen=True):
    """A product's request for a step. `input`: what later attempts compare, as JSON; None: they compare nothing."""

    intent: str
    work: Callable[[], Any]
    kind: str
    input: Any
    policy: StepPolicy


class Run(msgspec.Struct, frozen=True):
    """One run of a step. `pause_s`: the seconds until the next run, should this one fail; None: it is the last run."""

    record: StepRecord
    pause_s: float | None


async def done(asked: StepRequest) -> Any:
    """Do the work of a step.

    Raises:
        TimeoutError: it took longer than it may.
        Exception: whatever the work raises.
    """
    limit_s = asked.policy.timeout_s
    if limit_s is None:
        return await call(asked.work)
    try:
        return await call_within(limit_s, asked.work)
    except CallTimeoutError:
        raise TimeoutError(f"step {asked.intent!r} took longer than {limit_s:g} s") from None


async def closed(stream: AsyncGenerator[Any]) -> None:
    """Close a stream, which runs its `finally` blocks."""
    await stream.aclose()
