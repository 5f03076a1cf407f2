"""The clock of the memory store. It stands still until somebody moves it."""

from typing import Final

START_MS: Final = 1_767_225_600_000  # 2026-01-01T00:00:00Z: every run starts at the same time


class ManualClock:
    """The time for leases, signal timeouts, retention and the due times of jobs in a test.

    It does not move by itself. `advance` moves it, and so does `run_turn` when the only thing left to do is to wait.
    """

    def __init__(self, start_ms: int = START_MS) -> None:
        self._now_ms = start_ms

    @property
    def now_ms(self) -> int:
        """The time, in ms since 1970."""
        return self._now_ms

    def advance(self, seconds: float) -> None:
        """Move the time forward.

        Raises:
            ValueError: `seconds` is negative. Time never goes back.
        """
        if seconds < 0:
            raise ValueError("time never goes back")
        self._now_ms += round(seconds * 1000)
