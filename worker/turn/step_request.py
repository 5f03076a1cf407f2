"""The request of a product for a step, and the runs that it may take."""

from collections.abc import Callable
from typing import Any

import msgspec

from turnwire.shared.model import StepRecord


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
