"""Counts the requests of each tenant, and of each API key, that follow turns in this process."""

from collections import Counter

from turnwire.shared.errors import TailLimit
from turnwire.shared.limits import Limits


class Tails:
    """The streams, and the requests that wait for the end of a turn, of this process."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()  # by tenant, and by tenant/key

    def one_more(self, tenant: str, limits: Limits) -> "_OneMore":
        """Count a request of the tenant, and of its key, as long as the block runs.

        Raises:
            TailLimit: one of them has as many as it may have.
        """
        self._check(tenant, "tenant", limits.max_tails)
        if limits.key is None:
            return _OneMore(self._open, (tenant,))
        self._check(limits.key.holder, "key", limits.key.max_tails)
        return _OneMore(self._open, (tenant, limits.key.holder))

    def _check(self, name: str, holder: str, max_tails: int | None) -> None:
        if max_tails is not None and self._open[name] >= max_tails:
            raise TailLimit(f"this {holder} follows as many turns as it may")


class _OneMore:
    """The context manager of a request that is counted. It has slots, because an API holds thousands of them."""

    __slots__ = ("_names", "_open")

    def __init__(self, counted: Counter[str], names: tuple[str, ...]) -> None:
        self._open = counted
        self._names = names

    def __enter__(self) -> None:
        for name in self._names:
            self._open[name] += 1

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]
