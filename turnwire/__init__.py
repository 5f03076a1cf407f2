"""Durable chat turns on Redis: the public names of Turnwire.

A product imports from here, from `turnwire.backends`, `turnwire.testing` and the modules of `turnwire.agents`.
Everything else may change in any release. The names are loaded at their first use, so that the API process never
imports the worker's code.
"""

# The names stand here three times, and a test compares the three lists. Type checkers need the imports and a literal
# `__all__`, because neither of them runs this module. At run time the imports must not happen, so `_HOMES` says where
# each name is found at its first use.
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from turnwire.shared.erasure import Erasure
    from turnwire.shared.errors import TurnFailure
    from turnwire.shared.events import ChatStreamEvent
    from turnwire.shared.ledger import LedgerRow
    from turnwire.shared.model import ModelCall, TurnError
    from turnwire.shared.redacted import redacted
    from turnwire.worker.hooks import ChatTurnHooks, Producer
    from turnwire.worker.turn.step_errors import (
        DivergenceError,
        InputDriftError,
        MisplacedStepError,
        NestedStepError,
        SignalTimeoutError,
        StepResultError,
    )
    from turnwire.worker.turn.turn import Turn

__version__ = "0.2.0"

__all__ = [
    "ChatStreamEvent",
    "ChatTurnHooks",
    "DivergenceError",
    "Erasure",
    "InputDriftError",
    "LedgerRow",
    "MisplacedStepError",
    "ModelCall",
    "NestedStepError",
    "Producer",
    "SignalTimeoutError",
    "StepResultError",
    "Turn",
    "TurnError",
    "TurnFailure",
    "__version__",
    "redacted",
]

_HOMES: Final = {
    "ChatStreamEvent": "turnwire.shared.events",
    "ChatTurnHooks": "turnwire.worker.hooks",
    "DivergenceError": "turnwire.worker.turn.step_errors",
    "Erasure": "turnwire.shared.erasure",
    "InputDriftError": "turnwire.worker.turn.step_errors",
    "LedgerRow": "turnwire.shared.ledger",
    "ModelCall": "turnwire.shared.model",
    "MisplacedStepError": "turnwire.worker.turn.step_errors",
    "NestedStepError": "turnwire.worker.turn.step_errors",
    "Producer": "turnwire.worker.hooks",
    "SignalTimeoutError": "turnwire.worker.turn.step_errors",
    "StepResultError": "turnwire.worker.turn.step_errors",
    "Turn": "turnwire.worker.turn.turn",
    "TurnError": "turnwire.shared.model",
    "TurnFailure": "turnwire.shared.errors",
    "redacted": "turnwire.shared.redacted",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
