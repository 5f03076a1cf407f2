"""The checkpoints that an attempt has written, kept in memory in case the store loses the last of them."""

from typing import Final, NamedTuple

from turnwire.shared.model import Claimed, StepRecord

KEPT_BYTES: Final = 1_048_576  # of a turn's results and history; the newest stay


class Kept(NamedTuple):
    """A checkpoint."""

    number: int  # in its turn
    record: StepRecord
    history: bytes  # the messages that the producer sees, if no checkpoint before has carried them

    @property
    def size(self) -> int:
        """Bytes of its result and its history."""
        return len(bytes(self.record.result)) + len(self.history)


class KeptSteps:
    """Numbers the checkpoints of a turn, and keeps the newest one of each step that this attempt has written."""

    def __init__(self, claimed: Claimed) -> None:
        self.known = claimed.checkpoints
        """Number of the last checkpoint that the store has acknowledged."""
        self._last = claimed.checkpoints
        self._forgotten = claimed.checkpoints  # up to this number, checkpoints may not be kept
        self._kept: dict[int | str, Kept] = {}
        self._kept_bytes = 0

    def next_number(self) -> int:
        """Return the number of a checkpoint that is about to be written."""
        self._last += 1
        return self._last

    def add(self, number: int, record: StepRecord, history: bytes) -> None:
        """Remember a checkpoint that the store has acknowledged, with the history that it carried."""
        before = self._drop(record.index)  # it may have carried the history
        kept = Kept(number, record, history or (before.history if before else b""))
        self._kept[record.index] = kept
        self._kept_bytes += kept.size
        self.known = max(self.known, number)
        while self._kept_bytes > KEPT_BYTES:
            dropped = self._drop(next(iter(self._kept)))
            self._forgotten = max(self._forgotten, dropped.number if dropped else 0)

    def _drop(self, index: int | str) -> Kept | None:
        kept = self._kept.pop(index, None)
        self._kept_bytes -= kept.size if kept else 0
        return kept

    def covers(self, stands: int) -> bool:
        """True if everything is kept that a store has lost whose last checkpoint has this number."""
        return stands >= self._forgotten

    def newest(self) -> list[Kept]:
        """Return the checkpoints that are kept, oldest first."""
        return list(self._kept.values())
