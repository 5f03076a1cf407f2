"""What is counted of the tenants that have limits, in memory, as shared/store/lua/admit.lua counts it in Redis."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from turnwire.shared import keys
from turnwire.shared.errors import OpenTurnsLimit, RateLimited, SessionLimit
from turnwire.shared.keys import TurnKey
from turnwire.shared.limits import Limits


@dataclass
class Tenants:
    """The requests, the open turns and the sessions of tenants."""

    full_at_us: dict[str, int] = field(default_factory=dict)  # tenant -> when its bucket would be full again
    open_turns: dict[str, set[str]] = field(default_factory=dict)
    sessions: dict[str, dict[str, int]] = field(default_factory=dict)  # tenant -> session -> until when it counts, ms

    def admit(
        self, key: TurnKey, limits: Limits, *, is_new: bool, now_us: int, kept_ms: int, open_job_ids: Collection[str]
    ) -> int:
        """Count a turn that is asked. Returns how many requests its tenant may send now.

        Raises:
            RateLimited, OpenTurnsLimit, SessionLimit: its tenant may not ask it. Nothing is changed.
        """
        tenant, session = key.session.tenant, key.session.session
        each_us = round(1_000_000 / limits.requests_per_s) if limits.requests_per_s else 0
        full_at_us = max(self.full_at_us.get(tenant, 0), now_us)
        wait_us = full_at_us + each_us - now_us - limits.burst * each_us
        if each_us and wait_us > 0:
            raise RateLimited.after(math.ceil(wait_us / 1000))
        own, sessions = self.open_turns.setdefault(tenant, set()), self.sessions.setdefault(tenant, {})
        if is_new and limits.max_open_turns and len(own) >= limits.max_open_turns:
            own &= set(open_job_ids)
            if len(own) >= limits.max_open_turns:
                raise OpenTurnsLimit("this tenant has as many open turns as it may have")
        if is_new and limits.max_sessions:
            for name in [name for name, until_ms in sessions.items() if until_ms <= now_us // 1000]:
                del sessions[name]
            if session not in sessions and len(sessions) >= limits.max_sessions:
                raise SessionLimit("this tenant has as many sessions as it may have")
            sessions[session] = now_us // 1000 + kept_ms
        if is_new and limits.max_open_turns:
            own.add(key.run_id)
        if not each_us:
            return 0
        self.full_at_us[tenant] = full_at_us + each_us
        return (now_us + limits.burst * each_us - full_at_us - each_us) // each_us

    def end_turn(self, job_id: str) -> None:
        """Count a turn no more, because it has ended or there is none."""
        self.open_turns.get(keys.tenant_of(job_id), set()).discard(job_id)
