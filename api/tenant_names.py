"""Decides which tenants have a name of their own in the metrics, so that their number is bounded."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from turnwire.shared.metric_names import OTHER

IDLE_S: Final = 3600.0  # a tenant that has had nothing for so long gives its name up


class TenantNames:
    """Gives names to at most `most` tenants at a time: those that have the most when a name is free.

    A tenant keeps its name while it has something, and for an hour after that. So the lines of a graph do not change
    places all the time.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._seen_s: dict[str, float] = {}  # tenant with a name -> when it had something

    def named(self, counts: Mapping[str, int]) -> Mapping[str, str]:
        """Return the name of each tenant: its own, or `other`. `counts`: how much each has; they have something."""
        now_s = self._clock()
        self._seen_s |= {tenant: now_s for tenant in self._seen_s if tenant in counts}
        self._seen_s = {tenant: seen_s for tenant, seen_s in self._seen_s.items() if now_s - seen_s < IDLE_S}
        others = sorted(counts.keys() - self._seen_s.keys(), key=lambda tenant: -counts[tenant])
        free = self._most - len(self._seen_s)
        self._seen_s |= dict.fromkeys(others[: max(free, 0)], now_s)
        return {tenant: tenant if tenant in self._seen_s else OTHER for tenant in counts}
