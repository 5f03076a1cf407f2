"""The branches of a session in memory.

Each function does what its namesake in shared/store/lua/parts/branch.lua does.
"""

from typing import Final

from turnwire.shared.errors import SessionBusy, UnknownParent
from turnwire.shared.request import NO_PARENT, TurnRequest
from turnwire.testing.memory import MemorySession, MemoryTurn

MOST_FAILED: Final = 500


def check(session: MemorySession, index: int, request: TurnRequest) -> None:
    """Check the place that a request gives to a turn which is to be queued.

    Raises:
        UnknownParent: the session has no earlier turn with the index of the parent, and the turn is new.
        SessionBusy: the turn would have to wait, and `on_busy` is reject.
    """
    parent = request.parent
    there = [NO_PARENT, *(other for other in session.turns if other < index)]
    if parent is not None and index not in session.turns and parent not in there:
        raise UnknownParent(f"this session has no earlier turn {parent}")
    is_busy = bool(session.open) if parent is None else ahead_of(session, index, str(parent)) is not None
    if request.on_busy == "reject" and is_busy:
        raise SessionBusy("an earlier turn of this session is in progress")


def ahead_of(session: MemorySession, index: int, parent: str | None) -> int | None:
    """Return the index of an open turn that must end before this one may run, or None."""
    first, looked_at = session.next_open, 0
    while parent != str(NO_PARENT) and first is not None and first < index:
        if parent is None or looked_at == MOST_FAILED:
            return first
        index, looked_at = int(parent), looked_at + 1
        if index in session.open:
            return index
        turn = session.turns.get(index)
        if turn is None or turn.status not in {"failed", "cancelled"}:
            return None
        parent = turn.fields.get("parent")
    return None


def note_wait(session: MemorySession, index: int, ahead: int) -> None:
    """Note that a turn whose parent was given waits for the turn `ahead`."""
    turn = session.turns[index]
    if "parent" not in turn.fields:
        return
    turn.fields["ahead"] = str(ahead)
    other = session.turns[ahead].fields
    wakes = other["wakes"].split(",") if "wakes" in other else []
    if str(index) not in wakes:
        other["wakes"] = ",".join([*wakes, str(index)])


def woken(session: MemorySession | None, turn: MemoryTurn | None) -> list[int]:
    """Return the indexes of the turns that may be able to run now that this one has ended."""
    wakes = turn.fields.get("wakes") if turn is not None else None
    waiting = {int(index) for index in wakes.split(",")} if wakes else set()
    first = session.next_open if session is not None else None
    return sorted(waiting if first is None else waiting | {first})


def default_parent(session: MemorySession, index: int) -> str:
    """Return the index of the latest turn before this one that has an answer, or may still get one; -1: none."""
    earlier = sorted((other for other in session.turns if other < index), reverse=True)[:MOST_FAILED]
    nearest = earlier[-1] if len(earlier) == MOST_FAILED else NO_PARENT
    return str(next((other for other in earlier if _may_answer(session.turns[other])), nearest))


def _may_answer(turn: MemoryTurn) -> bool:
    return "in_history" in turn.fields or turn.status not in {"failed", "cancelled"}
