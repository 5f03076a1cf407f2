"""What becomes of a job when its attempt is over, and when a turn that waits is looked at."""

import msgspec

from turnwire.shared.settings import Settings


class Done(msgspec.Struct, frozen=True):
    """The job is finished: the turn has ended, or was not there. `rows`, here and below: its ledger by attempt."""

    rows: dict[int, bytes] = {}


class Parked(msgspec.Struct, frozen=True):
    """The job is finished, but the turn is not: something else will enqueue it. The sweep looks after `look_ms`."""

    look_ms: int | None = None
    rows: dict[int, bytes] = {}


class Again(msgspec.Struct, frozen=True):
    """Somebody should look at the turn again after `delay_ms`."""

    delay_ms: int
    rows: dict[int, bytes] = {}


def look_ms(left_ms: int | None, settings: Settings) -> int:
    """When a suspended turn whose time is up in `left_ms` is looked at; None: it waits without a limit.

    Soon enough to find the ledger rows of one that was cancelled and whose job was then not enqueued.
    """
    longest_ms = settings.retention_ms // 2
    return longest_ms if left_ms is None else min(left_ms, longest_ms)
