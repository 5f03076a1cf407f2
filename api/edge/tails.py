"""Counts the requests of each tenant that follow turns in this process."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from turnwire.shared.errors import TailLimit
from turnwire.shared.limits import Limits


class Tails:
    """The streams, and the requests that wait for the end of a turn, of this process."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def one_more(self, tenant: str, limits: Limits) -> Generator[None]:
        """Count a request of the tenant as long as the block runs.

        Raises:
            TailLimit: the tenant has as many as it may have.
        """
        if limits.max_tails is not None and self._open[tenant] >= limits.max_tails:
            raise TailLimit("this tenant follows as many turns as it may")
        self._open[tenant] += 1
        try:
            yield
        finally:
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]
