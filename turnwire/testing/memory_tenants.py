"""What is counted of the tenants that have limits, in memory, as shared/store/lua/admit.lua counts it in Redis."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from turnwire.shared import keys
from turnwire.shared.errors import OpenTurnsLimit, RateLimited, SessionLimit
from turnwire.shared.keys import TurnKey
from turnwire.shared.limits import Allowance, Limits

Counted = tuple[str, str, Allowance]  # `tenant` or `key`, what it is counted as, and what it may do


@dataclass
class Tenants:
    """The requests, the open turns and the sessions of tenants, and of API keys."""

    full_at_us: dict[str, int] = field(default_factory=dict)  # when a bucket would be full again
    open_turns: dict[str, set[str]] = field(default_factory=dict)
    sessions: dict[str, dict[str, int]] = field(default_factory=dict)  # session -> until when it counts, ms

    def admit(
        self, key: TurnKey, limits: Limits, *, is_new: bool, now_us: int, kept_ms: int, open_job_ids: Collection[str]
    ) -> tuple[int, int]:
        """Count a turn that is asked. Returns how many requests its tenant and its key may send now.

        Raises:
            RateLimited, OpenTurnsLimit, SessionLimit: its tenant, or its key, may not ask it. It is not counted.
        """
        counted: list[Counted] = [("tenant", key.session.tenant, limits)]
        if limits.key is not None:
            counted.append(("key", limits.key.holder, limits.key))
        for who in counted:
            self._check(key, who, is_new=is_new, now_us=now_us, open_job_ids=open_job_ids)
        left = [self._count(key, who, is_new=is_new, now_us=now_us, kept_ms=kept_ms) for who in counted]
        return left[0], left[1] if len(left) > 1 else 0

    def _check(self, key: TurnKey, who: Counted, *, is_new: bool, now_us: int, open_job_ids: Collection[str]) -> None:
        (kind, name, allowance), session = who, key.session.session
        wait_us = max(self.full_at_us.get(name, 0), now_us) - now_us - (allowance.burst - 1) * allowance.each_us
        if allowance.each_us and wait_us > 0:
            raise RateLimited(math.ceil(wait_us / 1000), kind, burst=allowance.burst, window_s=allowance.window_s)
        own, sessions = self.open_turns.setdefault(name, set()), self.sessions.setdefault(name, {})
        if is_new and allowance.max_open_turns and len(own) >= allowance.max_open_turns:
            own &= set(open_job_ids)
            if len(own) >= allowance.max_open_turns:
                raise OpenTurnsLimit(f"this {kind} has as many open turns as it may have")
        if is_new and allowance.max_sessions:
            for other in [other for other, until_ms in sessions.items() if until_ms <= now_us // 1000]:
                del sessions[other]
            if session not in sessions and len(sessions) >= allowance.max_sessions:
                raise SessionLimit(f"this {kind} has as many sessions as it may have")

    def _count(self, key: TurnKey, who: Counted, *, is_new: bool, now_us: int, kept_ms: int) -> int:
        _, name, allowance = who
        if is_new and allowance.max_sessions:
            self.sessions[name][key.session.session] = now_us // 1000 + kept_ms
        if is_new and allowance.max_open_turns:
            self.open_turns[name].add(key.run_id)
        if not allowance.each_us:
            return 0
        full_at_us = max(self.full_at_us.get(name, 0), now_us) + allowance.each_us
        self.full_at_us[name] = full_at_us
        return (now_us + allowance.burst * allowance.each_us - full_at_us) // allowance.each_us

    def end_turn(self, job_id: str) -> None:
        """Count a turn no more, because it has ended or there is none."""
        self.open_turns.get(keys.tenant_of(job_id), set()).discard(job_id)
