"""The slots of a worker for jobs that wait for somebody else: answers to persist, and callbacks.

They take no turn's slot, so a slow store delays no turn. Each of the two has slots of its own, so that servers which do
not answer their callbacks delay no answer.
"""

import asyncio
import random
from typing import Final

SOONEST_PUT_OFF_MS: Final = 100
LONGEST_PUT_OFF_MS: Final = 60_000


def outbox_slots(slots: int) -> int:
    """Return how many answers a worker persists at a time, beside its turns."""
    return max(slots // 4, 1)


class OutboxSlots:
    """Knows which jobs of one kind run here, and since when.

    `looked_after`: how far `take_answers` has come in the list of such jobs.
    """

    def __init__(self, slots: int) -> None:
        self.looked_after = 0
        self._slots = outbox_slots(slots)
        self._began_s: dict[str, float] = {}  # job id -> when it began, by the clock of the event loop

    def __len__(self) -> int:
        return len(self._began_s)

    @property
    def free(self) -> int:
        """How many more jobs may begin."""
        return self._slots - len(self._began_s)

    @property
    def job_ids(self) -> list[str]:
        """The jobs that run here."""
        return list(self._began_s)

    def begin(self, job_id: str) -> None:
        """A job of the outbox begins."""
        self._began_s[job_id] = asyncio.get_running_loop().time()

    def end(self, job_id: str) -> None:
        """A job ends. It may be one that takes no slot here."""
        self._began_s.pop(job_id, None)

    def put_off_ms(self, pending: int) -> int:
        """Return when a job may be looked at again that finds no slot, while so many answers are pending.

        That is about when its turn would come if each job took as long as the slowest one takes now. So thousands of
        answers that wait for a store that hangs keep no worker busy, and are persisted soon when it works again.
        """
        now_s = asyncio.get_running_loop().time()
        takes_s = now_s - min(self._began_s.values(), default=now_s)  # the last of them may have ended meanwhile
        wait_ms = takes_s * 1000 * pending / self._slots * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        return int(min(max(wait_ms, SOONEST_PUT_OFF_MS), LONGEST_PUT_OFF_MS))
