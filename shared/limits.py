"""What a request may do at most: the limits of its tenant, and those of the API key behind its credentials."""

from typing import Final

import msgspec

from turnwire.shared.key_file import Key
from turnwire.shared.settings import Settings

BURST_S: Final = 2.0  # who was quiet may send the requests of so many seconds at once


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted of a tenant, or of a key. None: there is no limit.

    Attributes:
        requests_per_s: how many requests a second it may send in the long run.
        max_open_turns: how many of its turns may be open.
        max_tails: how many of its requests may follow turns, in each API process.
        max_sessions: how many of its sessions may have turns that are kept.
    """

    requests_per_s: float | None = None
    max_open_turns: int | None = None
    max_tails: int | None = None
    max_sessions: int | None = None

    @property
    def counts_turns(self) -> bool:
        """Whether a new turn has to be counted in Redis."""
        return not (self.requests_per_s is self.max_open_turns is self.max_sessions is None)

    @property
    def burst(self) -> int:
        """How many requests it may send at once after it was quiet; 0 without a limit."""
        return 0 if self.requests_per_s is None else max(1, int(self.requests_per_s * BURST_S))

    @property
    def window_s(self) -> int:
        """In how many seconds it may send as many again; 0 without a limit."""
        return 0 if self.requests_per_s is None else max(1, round(self.burst / self.requests_per_s))

    @property
    def each_us(self) -> int:
        """In how many µs it may send one more request; 0: at any time."""
        return 0 if self.requests_per_s is None else round(1_000_000 / self.requests_per_s)


class KeyAllowance(Allowance, frozen=True, kw_only=True):
    """What is counted of a key. `holder`: its tenant and its name, for Redis keys and for buckets."""

    holder: str


class Limits(Allowance, frozen=True, kw_only=True):
    """The limits of a request. What is counted is that of its tenant, and besides that of its key, if it has any.

    Attributes:
        max_signals: how many signals one turn may have.
        max_body_bytes: how long the body of a request may be.
        key: what is counted of the key.
    """

    max_signals: int
    max_body_bytes: int
    key: KeyAllowance | None = None

    @property
    def counts_turns(self) -> bool:
        """Whether a new turn has to be counted in Redis."""
        return super().counts_turns or (self.key is not None and self.key.counts_turns)


NO_LIMITS: Final = Limits(max_signals=Settings().max_signals, max_body_bytes=Settings().max_body_bytes)
NO_KEY: Final = KeyAllowance(holder="")
_COUNTED: Final = Allowance.__struct_fields__


def limits_of(settings: Settings, key: Key | None) -> Limits:
    """Return the limits of a request. `settings`: those that count for its tenant. `key`: behind its credentials."""
    counted = {name: getattr(settings, name) for name in _COUNTED}
    if key is None:
        return Limits(**counted, max_signals=settings.max_signals, max_body_bytes=settings.max_body_bytes)
    own = {name: getattr(key, name) for name in _COUNTED}
    return Limits(
        **counted,
        max_signals=min(settings.max_signals, key.max_signals or settings.max_signals),
        max_body_bytes=min(settings.max_body_bytes, key.max_body_bytes or settings.max_body_bytes),
        key=None if set(own.values()) == {None} else KeyAllowance(**own, holder=f"{key.tenant}/{key.name}"),
    )
