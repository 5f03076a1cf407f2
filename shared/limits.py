"""What a tenant may do at most: the settings of the environment, and those of its own table in the key file."""

from typing import Final

import msgspec

from turnwire.shared.key_file import TenantSettings
from turnwire.shared.settings import Settings

BURST_S: Final = 2.0  # a tenant that was quiet may send the requests of so many seconds at once


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one tenant. None: there is none.

    Attributes:
        requests_per_s: how many requests a second it may send in the long run.
        max_open_turns: how many of its turns may be open.
        max_tails: how many of its requests may follow turns, in each API process.
        max_sessions: how many of its sessions may have turns that are kept.
        max_signals: how many signals one turn may have.
        max_body_bytes: how long the body of a request may be.
    """

    requests_per_s: float | None = None
    max_open_turns: int | None = None
    max_tails: int | None = None
    max_sessions: int | None = None
    max_signals: int
    max_body_bytes: int

    @property
    def counts_turns(self) -> bool:
        """Whether a new turn has to be counted in Redis."""
        return not (self.requests_per_s is self.max_open_turns is self.max_sessions is None)

    @property
    def burst(self) -> int:
        """How many requests a tenant may send at once that was quiet; 0 without a limit."""
        return 0 if self.requests_per_s is None else max(1, int(self.requests_per_s * BURST_S))

    @property
    def window_s(self) -> int:
        """In how many seconds the tenant may send as many again; 0 without a limit."""
        return 0 if self.requests_per_s is None else max(1, round(self.burst / self.requests_per_s))


NO_LIMITS: Final = Limits(max_signals=Settings().max_signals, max_body_bytes=Settings().max_body_bytes)


def limits_of(settings: Settings, tenant: TenantSettings) -> Limits:
    """Return the limits of a tenant with these settings of its own."""
    return Limits(
        **{
            name: getattr(settings if getattr(tenant, name) is None else tenant, name)
            for name in Limits.__struct_fields__
        }
    )
