"""The ways in which a job ends, and the times after which somebody looks at a waiting turn again."""

from typing import Final, TypeAlias

import msgspec

from turnwire.shared.settings import Settings

BEHIND_MS: Final = 300_000  # how often the sweep looks at a turn that waits for the turn before it
SUSPENDED_MS: Final = 1_000  # when the sweep looks at a turn whose job was left behind by its suspension

UNREADABLE_MS: Final = 60_000  # how often the sweep looks at a turn that a worker could not read

SOONEST_UNSERVED_MS: Final = 100
LATEST_UNSERVED_MS: Final = 5_000


class Done(msgspec.Struct, frozen=True):
    """The job is finished, because the turn has ended or does not exist.

    `rows`, here and in the other two classes: the turn's ledger rows, by attempt.
    """

    rows: dict[int, bytes] = {}


class Parked(msgspec.Struct, frozen=True):
    """The job is finished, but the turn is not. Something else will enqueue it; the sweep looks at it in `look_ms`."""

    look_ms: int | None = None
    rows: dict[int, bytes] = {}


class Again(msgspec.Struct, frozen=True):
    """The job goes back to the queue. A worker may take it again in `delay_ms`."""

    delay_ms: int
    rows: dict[int, bytes] = {}


class Hold(msgspec.Struct, frozen=True):
    """The job waits until its tenant or project (`field`, see `lanes.paused_field`) is resumed.

    `since_us`: since when the turn waits, so that the turns start in this order then.
    """

    field: str
    since_us: int


class SetAside(msgspec.Struct, frozen=True):
    """Workers died over the job: an idle worker takes it, and runs at most `limit` jobs then, all of them suspects."""

    limit: int


JobEnd: TypeAlias = Done | Parked | Again | Hold | SetAside


def look_ms(left_ms: int | None, settings: Settings) -> int:
    """Return in how many ms the sweep should look at a suspended turn.

    The turn's wait for the signal ends in `left_ms`, or never if that is None. The sweep looks after half the retention
    at the latest. If the turn was cancelled then and its job was not enqueued, its ledger rows can still be published.
    """
    longest_ms = settings.retention_ms // 2
    return longest_ms if left_ms is None else min(left_ms, longest_ms)


def pause_ms(tries: int, first_ms: int, longest_ms: int) -> int:
    """Return in how many ms a job of the outbox is tried again after its `tries`-th try: each pause is twice the last.

    The scripts that begin a try count in the same way, in case the worker dies in the middle of it.
    """
    return min(first_ms << min(tries, 20), longest_ms)


def unserved_ms(waited_ms: int) -> int:
    """Return in how many ms a worker may take a job again that this one has no hooks for: an eighth of its wait so far.

    No worker sees the job until then. So a job that has waited for long costs little, and during a rollout, a worker
    that has the hooks finds a new job soon.
    """
    return min(max(waited_ms // 8, SOONEST_UNSERVED_MS), LATEST_UNSERVED_MS)
