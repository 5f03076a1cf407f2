"""Runs a product's hooks in tests, without Redis and without sockets. docs/how-to/testing.md shows how.

Turnwire's own code runs the turns, over a store in memory. Turnwire's tests compare that store with Redis.
"""

from turnwire.testing.calls import Calls
from turnwire.testing.clock import ManualClock
from turnwire.testing.crashes import CrashReport, CrashRun, crash_at_each_write, crash_at_each_write_sync
from turnwire.testing.errors import (
    CancelNeverCame,
    CrashPointNeverReached,
    NotHooks,
    SignalNeverAsked,
    TurnNeverEnds,
    WrongUse,
)
from turnwire.testing.observed import PersistCall, StepRun
from turnwire.testing.reading import Event
from turnwire.testing.result import Step, TurnRun
from turnwire.testing.run import run_turn, run_turn_sync
from turnwire.testing.stage import TIMES_OUT

__all__ = [
    "TIMES_OUT",
    "Calls",
    "CancelNeverCame",
    "CrashPointNeverReached",
    "CrashReport",
    "CrashRun",
    "Event",
    "ManualClock",
    "NotHooks",
    "PersistCall",
    "SignalNeverAsked",
    "Step",
    "StepRun",
    "TurnNeverEnds",
    "TurnRun",
    "WrongUse",
    "crash_at_each_write",
    "crash_at_each_write_sync",
    "run_turn",
    "run_turn_sync",
]
