"""Accepts a turn in three steps: announce, submit, enqueue. With the first one, the session is noted for its user.

If data and queue are in one database, the submit also enqueues the turn, and only a turn that has a user or limits is
announced before. If writes wait for replicas, the submit does not enqueue it, because no worker may run a turn that a
failover could take back.

After a crash behind the first step, there is no turn. After a crash behind the second one, the sweep enqueues the turn
within seconds, or the client's own retry does so at once. The client is answered after the third step.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from turnwire.shared.errors import QueueFull, StoreUnavailable, TurnwireError, UnknownModel
from turnwire.shared.events import ERROR, RUN_FAILED, encode_event
from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.lanes import DEFAULT_LANE, Lane
from turnwire.shared.limits import NO_LIMITS, Limits
from turnwire.shared.model import TurnRecord
from turnwire.shared.replies import Submitted
from turnwire.shared.request import TurnRequest
from turnwire.shared.store.planned_job import PlannedJob
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.queue_open import Admitted
from turnwire.shared.store.scripts import IndexMoved
from turnwire.shared.store.turns import TurnStore
from turnwire.shared.store.user_sessions import UserSessions
from turnwire.shared.store.waking import wake_next


class Accepted(msgspec.Struct, frozen=True):
    """A submitted turn.

    `mark` identifies its announcement, so that no other one is taken back; it may be empty. `is_enqueued`: the submit
    has enqueued it, if it has to run.
    """

    submitted: Submitted
    mark: str
    lane: Lane = DEFAULT_LANE
    is_enqueued: bool = False

    @property
    def key(self) -> TurnKey:
        """The key of the turn."""
        return self.submitted.key

    @property
    def completed(self) -> TurnRecord | None:
        """The turn if it is completed, so that there is nothing to run."""
        return self.submitted.completed

    @property
    def is_new(self) -> bool:
        """True if this submit has made the turn, so that its log was empty then."""
        return self.submitted.verdict == "created"


class Intake:
    """Writes the turn that a POST asks for to the store and to the queue."""

    def __init__(
        self,
        store: TurnStore,
        queue: TurnQueue,
        users: UserSessions,
        weight: float | None = None,
        limits: Limits = NO_LIMITS,
        check_model: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """`weight` and `limits`: those of the tenant that asks. `check_model` raises UnknownModel."""
        self.admitted: Admitted | None = None  # what Redis says is left, if it has counted this request
        self._store = store
        self._queue = queue
        self._enqueues_at_once = store.redis is queue.redis and not store.settings.redis_replicas
        self._users = users
        self._check_model = check_model
        self._weight = weight
        self._limits = limits

    async def submit(self, key: TurnKey, request: TurnRequest) -> Accepted:
        """Accept a turn at this index. `TurnStore.submit` lists the other outcomes.

        Raises:
            UnknownModel, InputMismatch, LeaseHeld, SessionBusy, TurnLimit, NotFound, QueueFull: nothing was written.
        """
        return await self._accept(self._store.submit, key, request)

    async def submit_next(self, session: SessionKey, request: TurnRequest, idempotency_key: str) -> Accepted:
        """Accept a turn at the session's next index, or at the index that this Idempotency-Key already has.

        Raises:
            UnknownModel, InputMismatch, SessionBusy, TurnLimit, NotFound, QueueFull: nothing was written.
        """
        index = await self._store.next_index(session, idempotency_key)
        while True:  # another request may take the index after it was read
            key = session.turn(index)
            try:
                return await self._accept(self._store.submit_next, key, request, idempotency_key)
            except IndexMoved as moved:
                index = moved.index

    async def enqueue(self, accepted: Accepted) -> None:
        """Put the turn in the queue, unless its submit did. A turn that an earlier request asked is never refused.

        Raises:
            QueueFull: the queue is full. A new turn was taken back.
        """
        submitted, run_id, lane = accepted.submitted, accepted.key.run_id, accepted.lane
        if accepted.is_enqueued or submitted.verdict == "running":
            return
        accepted_before = submitted.verdict == "attached"
        try:
            await self._queue.enqueue(run_id, accepted=accepted_before, lane=lane, weight=self._weight)
        except QueueFull as full:
            woken = await self._store.withdraw(submitted, _refusal(submitted, full))
            if woken is None:  # another request relies on the turn by now
                await self._queue.enqueue(run_id, accepted=True, lane=lane, weight=self._weight)
                return
            if submitted.verdict == "created":  # otherwise the sweep has to find it, to publish the ledger row
                await self._queue.forget(run_id, accepted.mark)
            await wake_next(self._store, self._queue, accepted.key, woken)
            raise

    def _job(self, key: TurnKey, request: TurnRequest) -> PlannedJob | None:
        """The job, for a submit that enqueues it."""
        if not self._enqueues_at_once:
            return None
        return self._queue.planned(key.run_id, lane=request.lane, weight=self._weight)

    async def _mark(self, key: TurnKey) -> str:
        """Announce the turn. Returns the mark of the announcement.

        Raises:
            RateLimited, OpenTurnsLimit, SessionLimit: the tenant may not ask it.
        """
        if not self._limits.counts_turns:
            return await self._queue.announce(key.run_id)
        self.admitted = await self._queue.admit(key, self._limits)
        return self.admitted.mark

    def _may_ask(self, request: TurnRequest) -> bool:
        try:
            self._check_model(request.model)
        except UnknownModel:
            return False
        return True

    async def _accept(
        self, write: Callable[..., Awaitable[Submitted]], key: TurnKey, request: TurnRequest, *more: str
    ) -> Accepted:
        """Announce the turn to the sweep, then write it; take the announcement back if the turn is refused.

        If nothing has to be asked or noted before the write, and the write enqueues the turn, there is no announcement,
        which saves two round trips.
        """
        is_alone = self._enqueues_at_once and request.user is None and not self._limits.counts_turns
        mark = "" if is_alone and self._may_ask(request) else await self._announce(key, request)
        try:
            submitted = await write(key, request, *more, job=self._job(key, request))
        except StoreUnavailable:
            raise  # the turn may have been written
        except TurnwireError:
            await self._queue.forget(key.run_id, mark)
            raise
        return Accepted(submitted, mark, request.lane, self._enqueues_at_once)

    async def _announce(self, key: TurnKey, request: TurnRequest) -> str:
        """Return the mark of the announcement; '' if the turn is completed, because then it needs none.

        The session is noted for its user at the same time, so that there is no turn which an erasure could not find.
        A completed turn can be had again also if nobody may ask its model any more.
        """
        if await self._store.is_completed(key):
            return ""
        self._check_model(request.model)
        if request.user is None:
            return await self._mark(key)
        mark, _ = await asyncio.gather(self._mark(key), self._users.note(key.session, request.user))
        return mark


def _refusal(submitted: Submitted, full: QueueFull) -> list[bytes]:
    """Return the last events of a turn that was asked again while the queue was full."""
    detail = {"message": str(full), "code": full.code}
    session_id = submitted.key.session.session
    return [
        encode_event(ERROR, {**detail, "retryable": True}),
        encode_event(RUN_FAILED, {"sessionId": session_id, **detail}),
    ]
