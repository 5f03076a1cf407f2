"""All writes to turns, on the data Redis. Each method runs one script. Reads are plain commands (`reads`)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property

import msgspec

from turnwire.shared.channels import cancels_channel
from turnwire.shared.errors import TurnLimit
from turnwire.shared.keys import MAX_TURN_INDEX, SUSPENDED_INDEX, SessionKey, TurnKey
from turnwire.shared.lanes import Lane
from turnwire.shared.model import StepRecord, TurnRecord
from turnwire.shared.replies import Cancelled, CancelVerdict, PersistTry, Signalled, Submitted
from turnwire.shared.request import TurnRequest
from turnwire.shared.store.attempts import AttemptWrites, flat
from turnwire.shared.store.audit import note_first
from turnwire.shared.store.connection import LINEAGE
from turnwire.shared.store.findings import Findings
from turnwire.shared.store.granted import in_pairs, indexes_of
from turnwire.shared.store.job_bytes import nonce
from turnwire.shared.store.planned_job import NO_JOB, PlannedJob
from turnwire.shared.store.scripts import Arg, Script, answered_within, typed_refusals

CANCEL = Script("cancel", lineage=True)
ERASE = Script("erase")
EXPIRE = Script("expire")
KEEP_STEP = Script("keep_step")
PERSISTED = Script("persisted")
SIGNAL = Script("signal")
SUBMIT = Script("submit", lineage=True)
WITHDRAW = Script("withdraw")

ERASE_TURNS = 200  # in one call, so that Redis can serve other clients in between


class TurnStore(AttemptWrites):
    """Typed access to turns. A method raises StoreUnavailable if Redis does not answer, and may then be repeated."""

    @cached_property
    def findings(self) -> Findings:
        """What the workers have found out about model servers."""
        return Findings(self.redis, self.settings)

    async def submit(self, key: TurnKey, request: TurnRequest, *, job: PlannedJob | None = None) -> Submitted:
        """Accept a turn at this index, attach to it, ask it again, or find its answer.

        `job`: the queue is in the same database, and the same write enqueues this job if the turn has to run. A worker
        may run it before the replicas have it.

        Raises:
            InputMismatch, LeaseHeld, SessionBusy, TurnLimit, NotFound, UnknownParent: nothing was written.
            QueueFull: there is a `job`, and too many jobs wait. Nothing was written.
        """
        return await self._submit(key, request, is_next=False, idempotency_key="", job=job)

    async def submit_next(
        self, key: TurnKey, request: TurnRequest, idempotency_key: str = "", *, job: PlannedJob | None = None
    ) -> Submitted:
        """Accept a turn at the index that `next_index` gave. `job` is that of `submit`.

        Raises:
            IndexMoved: another request took the index meanwhile. Nothing was written.
            InputMismatch, SessionBusy, TurnLimit, NotFound, UnknownParent, QueueFull: nothing was written.
        """
        return await self._submit(key, request, is_next=True, idempotency_key=idempotency_key, job=job)

    async def _submit(
        self, key: TurnKey, request: TurnRequest, *, is_next: bool, idempotency_key: str, job: PlannedJob | None
    ) -> Submitted:
        session, settings = key.session, self.settings
        if key.index > MAX_TURN_INDEX:
            raise TurnLimit("this session has used up its indexes")
        digest = request.input_hash(key)
        fields = {
            "run_id": key.run_id,
            "session": session.session,
            "tenant": session.tenant,
            **self._stored_fields(key, request),
        }
        names = [*key.lasting_keys(), session.numbering, *(job.names if job else ())]
        args: list[Arg] = [
            key.index,
            int(is_next),
            idempotency_key,
            digest,
            session.tenant,
            request.on_busy,
            self.settings_of(session.tenant).max_turns_per_session,
            settings.session_retention_ms,
            LINEAGE,
            request.user or "",
            int(request.bound),
            "" if request.parent is None else request.parent,
            key.run_id,
            self._followers(session),
            nonce(),
            *(job.args if job else NO_JOB),
            *flat(fields),
        ]
        try:
            reply = await SUBMIT(self._replicated, names, args)
        except TurnLimit:
            if not await self.prune(session):
                raise
            reply = await SUBMIT(self._replicated, names, args)
        verdict, attempt, mark, *record = reply
        completed = TurnRecord.from_hash(key, self._opened(key, in_pairs(record[0]))) if record else None
        return Submitted(verdict.decode(), key, attempt, mark.decode(), completed)

    def _stored_fields(self, key: TurnKey, request: TurnRequest) -> Mapping[str, str | bytes]:  # noqa: ARG002
        """The request's fields of the turn hash, as they are stored."""
        return request.fields()

    async def withdraw(self, submitted: Submitted, events: Sequence[bytes]) -> list[int] | None:
        """Take a submit back that the queue refused. `events` end the log of a turn that had been asked again.

        Returns: the session's turns that may be able to run now; None if another request relies on the submit by now.
        """
        key = submitted.key
        args: list[Arg] = [
            self._channel_prefix,
            key.index,
            submitted.mark,
            submitted.verdict,
            self._retention.ms(key.session.tenant),
            self._followers(key.session),
            *events,
        ]
        taken_back, woken = await WITHDRAW(self._courier, [*key.all_keys(), key.session.numbering], args)
        return indexes_of(woken) if taken_back else None

    async def signal(
        self,
        key: TurnKey,
        signal: str,
        payload: bytes,
        max_signals: int | None = None,
        *,
        user: str | None = None,
        entry: bytes | None = None,
    ) -> Signalled:
        """Store a signal. The first signal of a key wins. `payload` is JSON.

        `max_signals`: how many the turn may have; None: as the settings say. With a `user`, no turn of another user
        is found. `entry`: of the audit stream; it is written in the same round trip, before the signal.

        Raises:
            NotFound, TurnEnded: nothing was written.
            SignalLimit: the turn has too many signals, or too large ones. Nothing was written. The signal that a turn
                waits for is never refused for this reason.
        """
        names = [key.session.record, key.record, key.signals, *SUSPENDED_INDEX]
        settings = self.settings_of(key.session.tenant)
        most = max_signals or settings.max_signals
        args: list[Arg] = [signal, payload, most, settings.max_signal_bytes, user or ""]
        args += [key.index, self._followers(key.session)]
        noted = entry and note_first(self._replicated, entry, self.settings.audit_entries)
        first, stored, enqueue, *lane = await SIGNAL(self._replicated, names, args)
        if noted:
            with typed_refusals():
                await noted
        return Signalled(bool(first), stored, bool(enqueue), Lane.read(*lane))

    async def expire(self, key: TurnKey) -> int | None:
        """Queue a suspended turn again if the time for its signal is up.

        Returns: 0 if the turn is queued now; the ms until its time is up; None if it is not suspended, or has no limit.
        """
        names = [key.session.record, key.record, key.signals, *SUSPENDED_INDEX]
        left_ms = int(await EXPIRE(self._courier, names, [key.index, self._followers(key.session)]))
        return left_ms if left_ms >= 0 else None

    async def keep_step(self, key: TurnKey, attempt: int, step: StepRecord) -> None:
        """Store a step that a hook asked for after the turn had ended with this attempt.

        Raises:
            AttemptFenced: the turn has not ended, or it has ended with another attempt.
        """
        await KEEP_STEP(self._courier, [key.record, key.steps], [attempt, step.index, msgspec.json.encode(step)])

    async def try_to_persist(
        self, key: TurnKey, first_ms: int, longest_ms: int, *, rare_ms: int = 0, company: int = 0
    ) -> PersistTry | None:
        """Begin a try to persist the answer of a turn that has ended, unless it is too early for another one.

        The pauses between the tries begin with twice `first_ms` and are doubled up to `longest_ms`. The pause is
        `rare_ms` if `max_attempts` workers have died while they tried this and nothing else. `company`: see `claim`.

        Returns: None if the answer is not pending.
        """
        tries, wait_ms, limit = await self._persist(key, "begin", "", [first_ms, longest_ms, rare_ms], company)
        return PersistTry(tries, wait_ms, limit) if tries >= 0 else None

    async def persist_failed(self, key: TurnKey) -> None:
        """Say that a try to persist the answer has ended, and that it has killed no worker."""
        await self._persist(key, "fail", "")

    async def persisted(self, key: TurnKey, final_text: str) -> bool:
        """Mark an answer as stored by the product. Returns False if it was not pending."""
        return (await self._persist(key, "done", final_text))[0] >= 0

    async def _persist(
        self, key: TurnKey, event: str, text: str, pauses: Sequence[int] = (0, 0, 0), company: int = 0
    ) -> list[int]:
        retention_ms = self._retention.ms(key.session.tenant)
        args: list[Arg] = [event, text, retention_ms, *pauses, self.settings.max_attempts, company]
        return [int(number) for number in await PERSISTED(self._replicated, key.lasting_keys(), args)]

    async def cancel(
        self, key: TurnKey, reason: str = "", *, repeated: bool = False, user: str | None = None
    ) -> Cancelled:
        """Cancel a turn. If a worker runs it, that worker is told to stop; otherwise the turn ends at once.

        `repeated`: cancel only if an earlier request still stands. If the turn was asked again since, it is left alone.
        With a `user`, the turns of other users are not found.

        Raises:
            NotFound: there is no such turn.
        """
        cancels = cancels_channel(self.settings.deployment_name)
        named: list[Arg] = [self._end_prefix, key.index, reason, self._retention.ms(key.session.tenant)]
        args: list[Arg] = [*named, cancels, key.run_id, LINEAGE, user or "", int(repeated)]
        verdict, woken = await CANCEL(self._replicated, [*key.all_keys(), *SUSPENDED_INDEX], args)
        if verdict != b"requested":
            await self._tell_end(key)
        return Cancelled(CancelVerdict(verdict.decode()), indexes_of(woken))

    async def erase(
        self,
        session: SessionKey,
        *,
        user: str | None = None,
        before: Callable[[Sequence[TurnKey]], Awaitable[None]] | None = None,
    ) -> bool:
        """Delete everything of a session, page by page. Returns False if this user has no such session.

        `before`: it is called with the turns of each page before they are deleted.
        """
        async with answered_within(self._timeout_s):
            found = await self.redis.exists(session.record, session.turns, session.numbering)
        left = 1 if found else 0
        cancels = cancels_channel(self.settings.deployment_name)
        while left:
            async with answered_within(self._timeout_s):
                indexes = await self.redis.zrange(session.turns, 0, ERASE_TURNS - 1)
            turns = [session.turn(int(index)) for index in indexes]
            if before is not None:
                await before(turns)
            names = [session.record, session.turns, session.open, session.numbering, *SUSPENDED_INDEX]
            names += [name for turn in turns for name in turn.all_keys()[3:]]
            indexes_and_ids: list[Arg] = [*(turn.index for turn in turns), *(turn.run_id for turn in turns)]
            args: list[Arg] = [self._channel_prefix, cancels, user or "", len(turns), *indexes_and_ids]
            left = int(await ERASE(self._replicated, names, args))
            if left < 0:
                return False
        return bool(found)
