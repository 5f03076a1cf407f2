"""The stream of one attempt, which takes the events of its producer.

The code between a producer's steps runs again on every attempt, so a later attempt yields its early events again.
Events that are in the log already are not written twice. At the first one that differs, the log is rewound to there.
"""

from turnwire.shared.events import RUN_RESUMED, encode_event
from turnwire.shared.log_context import learn
from turnwire.shared.store.patience import until_answered
from turnwire.shared.store.turns import TurnStore
from turnwire.worker.attempt.attempt import Attempt, Lease
from turnwire.worker.attempt.standing import Standing


class AttemptStream:
    """Takes a producer's events in order: call `put`, and then `room` whenever `put` says so."""

    def __init__(self, attempt: Attempt, store: TurnStore) -> None:
        self._attempt = attempt
        self._store = store
        self._standing = Standing()
        self._diverged: tuple[bytes, bool] | None = None  # an event that differs, and its `own`: `room` writes it

    async def load(self) -> None:
        """Read the events that earlier attempts left in the log, to compare the producer's events with them."""
        claimed = self._attempt.claimed
        if claimed.attempt == 1:
            return
        entries = await until_answered(self._store.read_all, claimed.key)
        self._standing = Standing(entries)
        self._attempt.log.appended_bytes += sum(len(entry.event) for entry in entries)  # they count towards its limit

    def count_left(self) -> int:
        """Return how many events of earlier attempts, which are in the log, the producer has not yielded again yet."""
        return self._standing.count_left

    def put(self, event: bytes, *, own: bool = False) -> bool:
        """Append an event, unless it is in the log already. Returns True when the caller must wait for `room`.

        `own`: the event is Turnwire's, not the producer's; see TurnLog.put.
        """
        if self._standing.left:
            if self._standing.matches(event):
                return False
            self._diverged = event, own
            return True
        attempt = self._attempt
        if attempt.shown.channel is not None:
            attempt.shown.channel.show(event)
        attempt.meter.saw(event)
        return attempt.log.put(event, own=own)

    async def room(self) -> None:
        """Wait until the log takes more events. After a divergence, rewind it first.

        Raises:
            AttemptFenced: the lease was lost.
        """
        diverged, self._diverged = self._diverged, None
        if diverged is not None:
            await self.rewind()
            event, own = diverged
            self.put(event, own=own)
        await self._attempt.log.room()

    async def rewind(self) -> None:
        """Delete the events in the log that this attempt has not yielded again, if there are any.

        Raises:
            AttemptFenced: the lease was lost.
        """
        if not self._standing.left:
            return
        attempt, claimed = self._attempt, self._attempt.claimed
        await attempt.leave_if_stopped()
        await attempt.log.flush()
        attempt.lease = Lease.CHANGING
        try:
            after = self._standing.last_match
            rewound = await until_answered(self._store.rewind, claimed, after, attempt.meter.row)
            attempt.claimed = rewound.claimed
            learn(attempt=rewound.claimed.attempt)
        finally:
            attempt.lease = Lease.HELD
        attempt.meter.go_on()
        attempt.rows[claimed.attempt] = rewound.row
        attempt.trace.go_on(rewound.claimed, attempt.rows)
        resumed = {"attempt": rewound.claimed.attempt, "after": after, "reason": "diverged"}
        attempt.shown.events([encode_event(RUN_RESUMED, resumed)])  # as the script has written it
        attempt.log.restart(rewound.claimed)
        self._standing.drop_rest()
