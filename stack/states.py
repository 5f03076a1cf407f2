"""Draws the table of states, shared/lifecycle.py, as docs/states.md: `python3 -m stack.states`."""

from pathlib import Path
from typing import Final

from stack.cluster import ROOT
from turnwire.shared.lifecycle import TERMINAL_STATES, TRANSITIONS, Change, TurnState

PAGE: Final = Path(ROOT) / "docs" / "states.md"

# What happens to the turn, and the scripts in shared/store/lua that write it.
CHANGES: Final[dict[Change, tuple[str, str]]] = {
    Change.CLAIM: ("A worker takes it, or takes it over because the lease of another worker has ended.", "claim"),
    Change.HANDOVER: ("Its worker is stopped and gives it back.", "handover"),
    Change.SUSPEND: ("Its producer waits for a signal. Lease, slot and job are given up.", "suspend"),
    Change.SIGNAL: ("The signal has come, or its time is up.", "signal, expire"),
    Change.COMPLETE: ("Its worker has the answer.", "settle"),
    Change.FAIL: ("Its producer failed, it took too long, or too many of its workers died.", "settle, claim"),
    Change.CANCEL: ("Somebody cancelled it.", "cancel, settle, claim"),
    Change.ASK_AGAIN: ("The same request came again.", "submit"),
    Change.REFUSE: ("It was asked again, but the queue is full.", "withdraw"),
}


def drawn() -> str:
    """Return the whole page."""
    ways = [f"    {was} --> {becomes}: {change}" for (was, change), becomes in TRANSITIONS.items()]
    ends = [f"    {state} --> [*]" for state in TurnState if state in TERMINAL_STATES]
    return "\n".join(
        [
            "# States of a turn",
            "",
            "This page shows the states of a turn and what changes them. No other change is possible. The page",
            "is drawn from `shared/lifecycle.py` by `python3 -m stack.states`.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            f"    [*] --> {TurnState.QUEUED}: submit",
            *ways,
            *ends,
            "```",
            "",
            "## What changes a state",
            "",
            "| Change | What happens | Written by |",
            "|---|---|---|",
            *(_row(change) for change in Change),
            "",
            "`withdraw.lua` deletes a new turn that the queue refuses. `erase.lua` deletes the turns of a session.",
            "",
        ]
    )


def _row(change: Change) -> str:
    happens, scripts = CHANGES[change]
    files = ", ".join(f"`{script}.lua`" for script in scripts.split(", "))
    return f"| {change} | {happens} | {files} |"


if __name__ == "__main__":
    PAGE.write_text(drawn(), encoding="utf-8")
