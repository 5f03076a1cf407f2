"""Draws the table of states, shared/lifecycle.py, as docs/states.md: `python3 -m stack.states`."""

from pathlib import Path
from typing import Final

from stack.cluster import ROOT
from turnwire.shared.lifecycle import TERMINAL, TRANSITIONS, Change, TurnState

PAGE: Final = Path(ROOT) / "docs" / "states.md"

# What happens to the turn, and the scripts in shared/store/lua that write it.
CHANGES: Final[dict[Change, tuple[str, str]]] = {
    Change.CLAIM: ("a worker takes it, or takes it over when the lease of a dead one is gone", "claim"),
    Change.HANDOVER: ("its worker drains and gives it back", "handover"),
    Change.SUSPEND: ("its producer waits for a signal; lease, slot and job are given up", "suspend"),
    Change.SIGNAL: ("the signal, or its timeout, arrived", "signal, expire"),
    Change.COMPLETE: ("its worker has the answer", "settle"),
    Change.FAIL: ("its producer failed, it took too long, or too many of its workers died", "settle, claim"),
    Change.CANCEL: ("somebody asked for it", "cancel, settle, claim"),
    Change.ASK_AGAIN: ("the same request came again", "submit"),
    Change.REFUSE: ("it was asked again, but the queue is full", "withdraw"),
}


def drawn() -> str:
    """The whole page."""
    ways = [f"    {was} --> {becomes}: {change}" for (was, change), becomes in TRANSITIONS.items()]
    ends = [f"    {state} --> [*]" for state in TurnState if state in TERMINAL]
    return "\n".join(
        [
            "# States of a turn",
            "",
            "Drawn from `shared/lifecycle.py` by `python3 -m stack.states`. Turns move along these ways only.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            f"    [*] --> {TurnState.QUEUED}: submit",
            *ways,
            *ends,
            "```",
            "",
            "| change | what happens | ways | written by |",
            "|---|---|---|---|",
            *(_row(change) for change in Change),
            "",
            "A new turn that the queue refuses disappears (`withdraw.lua`), and so do the turns of an erased session.",
            "",
        ]
    )


def _row(change: Change) -> str:
    happens, scripts = CHANGES[change]
    ways = [f"{was} → {becomes}" for (was, by), becomes in TRANSITIONS.items() if by is change]
    files = ", ".join(f"`{script}.lua`" for script in scripts.split(", "))
    return f"| {change} | {happens} | {', '.join(ways)} | {files} |"


if __name__ == "__main__":
    PAGE.write_text(drawn(), encoding="utf-8")
