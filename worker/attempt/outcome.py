"""The three ways in which a job ends, and when the sweep looks at a turn that waits."""

from typing import Final

import msgspec

from turnwire.shared.settings import Settings

BEHIND_MS: Final = 300_000  # how often the sweep looks at a turn that waits for the turn before it

SOONEST_UNSERVED_MS: Final = 100
LATEST_UNSERVED_MS: Final = 5_000


class Done(msgspec.Struct, frozen=True):
    """The job is finished: the turn has ended, or does not exist.

    `rows`, here and in the other two: the turn's ledger rows, by attempt.
    """

    rows: dict[int, bytes] = {}


class Parked(msgspec.Struct, frozen=True):
    """The job is finished, but the turn is not: something else will enqueue it. The sweep looks at it in `look_ms`."""

    look_ms: int | None = None
    rows: dict[int, bytes] = {}


class Again(msgspec.Struct, frozen=True):
    """The job goes back to the queue: a worker should take it again in `delay_ms`."""

    delay_ms: int
    rows: dict[int, bytes] = {}


def look_ms(left_ms: int | None, settings: Settings) -> int:
    """In how many ms the sweep should look at a suspended turn.

    Its wait for the signal ends in `left_ms`, or never if that is None. The sweep looks after half the retention at the
    latest: if the turn was cancelled and its job was not enqueued, its ledger rows are still there to be published.
    """
    longest_ms = settings.retention_ms // 2
    return longest_ms if left_ms is None else min(left_ms, longest_ms)


def unserved_ms(waited_ms: int) -> int:
    """When any worker may look again at a job that this one has no hooks for: rarely, if it has waited for long.

    The job is out of every worker's sight until then. During a rollout, a worker that has the hooks finds it soon.
    """
    return min(max(waited_ms // 8, SOONEST_UNSERVED_MS), LATEST_UNSERVED_MS)
