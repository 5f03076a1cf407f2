"""The faults that a turn can have in itself: what its product does wrong, and how the turn may then end.

`shape` makes the metadata of a turn, `allowed_ends` says how a turn with this metadata may end.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chaos.careless import CARELESS, STEPS

LEASE_S: Final = 1.0
# The strikes alone never kill so many workers of a turn. A turn that fails with `attempts_exhausted` is a violation.
MAX_ATTEMPTS: Final = 8
HOOK_TIMEOUT_S: Final = 1.5
FAULTY_SHARE: Final = 0.25  # the share of turns that have a fault

Metadata = dict[str, Any]
End = tuple[str, str | None]  # the turn's status, and the code of its error
COMPLETED: Final[End] = ("completed", None)


@dataclass(frozen=True)
class Fault:
    """What the product of a turn does wrong. `weight` says how often, compared with the other faults."""

    about: str
    change: Callable[[random.Random], Metadata]
    weight: float = 1.0


def _blocked_loop(chance: random.Random) -> Metadata:
    return {"block_s": LEASE_S * chance.choice([0.5, 1, 2, 4])}


def _careless(chance: random.Random) -> Metadata:
    how = chance.choice(sorted(CARELESS))
    return {"careless": how} | ({"stream": False} if how in STEPS else {})


def _dies(chance: random.Random) -> Metadata:
    return {"die": chance.choice([1, 2]), "die_by": chance.choice(["abort", "SIGKILL"])}


def _dies_always(chance: random.Random) -> Metadata:
    return _dies(chance) | {"die": True}


def _hanging(hook: str) -> Callable[[random.Random], Metadata]:
    def change(chance: random.Random) -> Metadata:
        project = "plain" if hook == "on_event" else None
        return {"project": chance.choice(["plain", "listening" if project else None]), "hang": {hook: 1}}

    return change


def _cancelled(chance: random.Random) -> Metadata:
    return {"cancel_at": chance.choice([0, 1, 5, 20])}


def _signalled(chance: random.Random) -> Metadata:
    return {"signal": "approval", "payload": f"{chance.randrange(10**9)} ", "after_ms": 0}


FAULTS: Final[dict[str, Fault]] = {
    "blocked loop": Fault("its code blocks the event loop of its worker, for up to four leases", _blocked_loop),
    "bad value": Fault("it raises, yields or stores what must fail this turn alone", _careless, 2),
    "abort": Fault("its code ends the process of its first one or two attempts (os.abort, SIGKILL)", _dies, 0.5),
    "abort always": Fault(
        "its code ends the process of every attempt: only this turn may fail with attempts_exhausted",
        _dies_always,
        0.1,
    ),
    "hanging persist": Fault(
        "persist_assistant_message never returns the first time, as a coroutine or in a thread",
        _hanging("persist_assistant_message"),
    ),
    "hanging on_turn_complete": Fault(
        "on_turn_complete never returns, as a coroutine or in a thread", _hanging("on_turn_complete")
    ),
    "hanging on_event": Fault("on_event never returns, as a coroutine or in a thread", _hanging("on_event")),
    "cancel": Fault("its client cancels it, while it waits or runs", _cancelled, 2),
    "signal": Fault("it suspends itself and waits for a signal of its client", _signalled, 2),
}


def shape(chance: random.Random, faults: Mapping[str, Fault] = FAULTS, share: float = FAULTY_SHARE) -> Metadata:
    """Return the metadata of one turn: short or long, quick or slow, with a stream step or without, faulty or not."""
    how: Metadata = {"events": chance.randint(1, 40), "pace_ms": chance.choice([0, 5, 20, 60])}
    how |= {"stream": chance.random() < 0.5, "after_ms": chance.choice([0, 100, 500])}
    if not faults or chance.random() >= share:
        return how
    name = chance.choices(list(faults), [fault.weight for fault in faults.values()])[0]
    return how | {"fault": name} | faults[name].change(chance)


def allowed_ends(metadata: Mapping[str, Any]) -> set[End]:
    """Return the ends that a turn with this metadata may have."""
    if how := metadata.get("careless"):
        return {("failed", CARELESS[how].code)}
    if metadata.get("leak"):
        return {("failed", "producer_error")}
    if metadata.get("die") is True:
        return {("failed", "attempts_exhausted")}
    if "cancel_at" in metadata:
        return {COMPLETED, ("cancelled", "cancelled")}
    return {COMPLETED}


def late_hooks(metadata: Mapping[str, Any]) -> set[str]:
    """Return the hooks of which one call hangs, and the hooks after them.

    The outbox may call these hooks, and calls them several times if its worker dies.
    """
    hanging = set(metadata.get("hang", {}))
    return hanging | ({"on_turn_complete"} if "persist_assistant_message" in hanging else set())
