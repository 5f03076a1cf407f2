"""A step as a product asks for it."""

from collections.abc import Callable
from typing import Any

import msgspec

from turnwire.shared.model import StepRecord


class StepPolicy(msgspec.Struct, frozen=True):
    """How a step that raises is run again within one attempt. `timeout_s` limits each run; None: no limit."""

    retries: int = 0
    backoff_s: float = 0.5
    timeout_s: float | None = None


class Asked(msgspec.Struct, frozen=True):
    """A step as the producer asks for it. `input`: JSON; None: there is none to compare."""

    intent: str
    work: Callable[[], Any]
    kind: str
    input: Any
    policy: StepPolicy


class Run(msgspec.Struct, frozen=True):
    """One run of a step. `pause_s`: how long to wait after it if it fails; None: no run follows."""

    record: StepRecord
    pause_s: float | None
