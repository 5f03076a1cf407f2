"""Counts the requests of each tenant, and of each API key, that follow turns in this process."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from turnwire.shared.errors import TailLimit
from turnwire.shared.limits import Limits


class Tails:
    """The streams, and the requests that wait for the end of a turn, of this process."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()  # by tenant, and by tenant/key

    @contextmanager
    def one_more(self, tenant: str, limits: Limits) -> Generator[None]:
        """Count a request of the tenant, and of its key, as long as the block runs.

        Raises:
            TailLimit: one of them has as many as it may have.
        """
        self._check(tenant, "tenant", limits.max_tails)
        counted = [tenant]
        if limits.key is not None:
            self._check(limits.key.holder, "key", limits.key.max_tails)
            counted.append(limits.key.holder)
        self._open.update(counted)
        try:
            yield
        finally:
            self._open.subtract(counted)
            for name in counted:
                if not self._open[name]:
                    del self._open[name]

    def _check(self, name: str, holder: str, max_tails: int | None) -> None:
        if max_tails is not None and self._open[name] >= max_tails:
            raise TailLimit(f"this {holder} follows as many turns as it may")
