"""The checkpoints that an attempt has written, kept in memory in case the store loses the last of them."""

from typing import Final

from turnwire.shared.model import Claimed, StepRecord

KEPT_BYTES: Final = 1_048_576  # of a turn's results and history; the newest stay

_HISTORY: Final = "history"


class KeptSteps:
    """Knows how many steps the store has acknowledged, and keeps the newest ones of this attempt."""

    def __init__(self, claimed: Claimed) -> None:
        self._stored: set[int | str] = set(claimed.steps)
        if claimed.history is not None:
            self._stored.add(_HISTORY)
        self._kept: dict[int | str, tuple[StepRecord, bytes]] = {}
        self._kept_bytes = 0

    @property
    def known(self) -> int:
        """How many steps, and the history, the store has acknowledged."""
        return len(self._stored)

    def add(self, record: StepRecord, history: bytes) -> None:
        """Remember a checkpoint that the store has acknowledged, with the history that it carried."""
        self._drop(record.index)
        self._kept[record.index] = record, history
        self._kept_bytes += len(bytes(record.result)) + len(history)
        self._stored.add(record.index)
        if history:
            self._stored.add(_HISTORY)
        while self._kept_bytes > KEPT_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, index: int | str) -> None:
        if index in self._kept:
            record, history = self._kept.pop(index)
            self._kept_bytes -= len(bytes(record.result)) + len(history)

    def covers(self, left: int) -> bool:
        """True if everything is kept that a store has lost which has `left` of the steps."""
        return self.known - left <= sum(2 if history else 1 for _, history in self._kept.values())

    def newest(self) -> list[tuple[StepRecord, bytes]]:
        """Return the checkpoints that are kept, oldest first."""
        return list(self._kept.values())
