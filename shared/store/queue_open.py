"""The list of open turns on the queue Redis, which the sweep looks through, and what tenants may have of them."""

from collections.abc import Sequence
from typing import Final

import msgspec

from turnwire.shared import keys
from turnwire.shared.errors import RateLimited
from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.limits import NO_KEY, Limits
from turnwire.shared.replies import Due
from turnwire.shared.store.queue_workers import SWEEP_MS, QueueWorkers
from turnwire.shared.store.scripts import Arg, Script, typed_refusals

ADMIT = Script("admit")
ANNOUNCE = Script("announce")
DUE = Script("due")
FORGET = Script("forget")
POSTPONE = Script("postpone")
RELEASE = Script("release")

ANNOUNCED_MS = 5_000  # the sweep looks at a turn that was announced and still has no job after this time
SWEEPER_MS = 8_000  # how long a worker stays the one that sweeps, if it does not ask again
WAITING_MS = 600_000  # the sweep looks again at a turn whose job waits in the queue
OWN_OPEN_MS: Final = 2_592_000_000  # the set of a tenant's open turns is kept for so long after the last new one
_OF_KEY: Final = (keys.KEY_RATE_PREFIX, keys.KEY_OPEN_PREFIX, keys.KEY_SESSIONS_PREFIX)


class Admitted(msgspec.Struct, frozen=True):
    """A turn may be asked. `mark`: for `forget`. `left`, `key_left`: how many requests tenant and key may send now."""

    mark: str
    left: int
    key_left: int = 0


class OpenTurns(QueueWorkers):
    """The list of open turns. The methods are those of TurnQueue, which says what they raise."""

    async def announce(self, run_id: str) -> str:
        """Tell the sweep of a turn before it is written, in case no job follows. Returns a mark for `forget`."""
        reply = await ANNOUNCE(self._courier, [keys.OPEN_TURNS], [run_id, ANNOUNCED_MS])
        return str(reply.decode())

    async def admit(self, key: TurnKey, limits: Limits) -> Admitted:
        """Tell the sweep of a turn before it is written, as `announce` does, if its tenant may have one more.

        Raises:
            RateLimited, OpenTurnsLimit, SessionLimit: the tenant or its API key is at its limit. Nothing was written.
        """
        tenant, of_key = key.session.tenant, limits.key or NO_KEY
        own = [prefix + tenant for prefix in (keys.RATE_PREFIX, keys.OWN_OPEN_PREFIX, keys.OWN_SESSIONS_PREFIX)]
        own += [prefix + of_key.holder for prefix in _OF_KEY]
        counted: list[Arg] = [
            number
            for who in (limits, of_key)
            for number in (who.each_us, who.burst, who.max_open_turns or 0, who.max_sessions or 0)
        ]
        kept_ms = self._retention.ms(tenant)
        args: list[Arg] = [key.run_id, ANNOUNCED_MS, OWN_OPEN_MS, key.session.session, kept_ms, *counted]
        try:
            mark, left, key_left = await ADMIT(self._courier, [keys.OPEN_TURNS, *own], args)
        except RateLimited as error:
            who = limits if error.holder == "tenant" else of_key
            error.burst, error.window_s = who.burst, who.window_s
            raise
        return Admitted(mark.decode(), left, key_left)

    async def drop_session(self, key: SessionKey) -> None:
        """Stop counting a session that was erased."""
        with typed_refusals():
            await self._courier.send("ZREM", keys.OWN_SESSIONS_PREFIX + key.tenant, key.session)

    async def forget(self, job_id: str, mark: str) -> None:
        """Take back an announcement, or let the sweep forget an open job. An empty mark changes nothing."""
        if mark:
            own_open = keys.OWN_OPEN_PREFIX + keys.tenant_of(job_id)
            names = [keys.OPEN_TURNS, pending_key(job_id), billed_key(job_id), own_open]
            await FORGET(
                self._courier, names, [job_id, keys.other_job(job_id), mark, self._retention.of_job_ms(job_id)]
            )

    async def due(self, worker: str, limit: int = 500) -> Due:
        """Take the open jobs that somebody should look at. Each is handed out once in 15 s.

        One worker sweeps at a time: the first that asks. It remains the one while it asks again within 8 s.
        """
        names = [keys.OPEN_TURNS, keys.QUEUE, keys.SWEEPER, keys.WORKERS, keys.LISTED]
        listed: list[Arg] = [self._settings.listed_turns, self._retention.longest_ms]
        args: list[Arg] = [worker, SWEEPER_MS, limit, SWEEP_MS, WAITING_MS, keys.JOB_PREFIX, *listed]
        sweeps, wait_ms, *due = await DUE(self._courier, names, args)
        marked = [(job_id.decode(), mark.decode()) for job_id, mark in zip(due[::2], due[1::2], strict=True)]
        return Due(marked, None if wait_ms < 0 else wait_ms, sweeps=bool(sweeps))

    async def release(self, job_ids: Sequence[str]) -> int:
        """Make held jobs due whose turns have ended or were erased. Returns how many were held."""
        args: list[Arg] = [keys.HELD_PREFIX, keys.LANE_PREFIX, *job_ids]
        return int(await RELEASE(self._courier, [keys.QUEUE, keys.HINTS, keys.PAUSED], args))

    async def postpone(self, run_id: str, delay_ms: int) -> None:
        """Let the sweep look at an open turn in `delay_ms`, and not earlier."""
        await POSTPONE(self._courier, [keys.OPEN_TURNS], [run_id, delay_ms])


def pending_key(job_id: str) -> str:
    """The list of the jobs that wait for somebody else: answers to persist, or callbacks."""
    return keys.CALLBACKS if job_id.startswith(keys.CALLBACK_PREFIX) else keys.PENDING


def billed_key(job_id: str) -> str:
    """The mark of the turn, which both of its jobs keep: a turn's rows may come again for as long as one is open."""
    return keys.billed(keys.run_id_of(job_id))
