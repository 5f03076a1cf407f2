"""Findings about model servers in memory."""

from turnwire.shared.store.findings import Findings
from turnwire.testing.clock import ManualClock


class MemoryFindings(Findings):
    """The same as Findings. It has no connection: `super().__init__` is not called on purpose."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[str, int]] = {}  # the word, and until when it is kept (ms)

    async def read(self, name: str) -> str | None:
        """See Findings."""
        word, ends_ms = self._kept.get(name, ("", 0))
        return word if ends_ms > self._clock.now_ms else ""

    async def keep(self, name: str, word: str, keep_s: int) -> None:
        """See Findings."""
        self._kept[name] = word, self._clock.now_ms + keep_s * 1000

    async def forget(self, name: str) -> None:
        """See Findings."""
        self._kept.pop(name, None)
