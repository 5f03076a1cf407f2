"""What the memory store does about a store that has lost its last writes, as parts/behind.lua and parts/attempt.lua."""

from collections.abc import Sequence
from typing import Final

from turnwire.shared.store.scripts import LogBehind, StepsBehind
from turnwire.testing.memory import Memory, MemoryTurn

SKIPPED_ATTEMPTS: Final = 1000


def behind(turn: MemoryTurn, seq: int) -> None:
    """Refuse a write that comes after events which the log does not have.

    Raises:
        LogBehind: it lacks events before `seq`.
    """
    if turn.log and len(turn.log) < seq:
        raise LogBehind(str(len(turn.log)))


def steps_behind(turn: MemoryTurn, known: int) -> None:
    """Refuse a write that comes after checkpoints which are not there.

    Raises:
        StepsBehind: the last one has a lower number than `known`.
    """
    stands = int(turn.fields.get("checkpoints", "0"))
    if stands < known:
        raise StepsBehind(str(stands))


def next_attempt(memory: Memory, turn: MemoryTurn) -> int:
    """The number of the next attempt; some are skipped if the store has failed over, as parts/attempt.lua says."""
    known = turn.fields.get("lineage", memory.lineage)
    turn.fields["lineage"] = memory.lineage
    if known == memory.lineage:
        return turn.attempt + 1
    age_ms = max(memory.now_ms - int(turn.fields["created_at"]), 0)
    return turn.attempt + SKIPPED_ATTEMPTS * (1 + age_ms) + 1


class WholeQueue:
    """What a queue tells that never loses anything."""

    async def lost_lineage(self, turns_lineage: str, lock_ms: int = 0) -> None:
        """See TurnQueue."""

    async def unpublished(self, run_ids: Sequence[str]) -> list[str]:  # noqa: ARG002 - as TurnQueue
        """See TurnQueue."""
        return []

    async def keep_lineage(self, lineage: str, turns_lineage: str) -> None:
        """See TurnQueue."""
