"""The rules: what clients, workers, API processes and time may do to a session, in any order.

A worker here is as bad as a worker can be: it goes on after its lease was lost, its turn taken over, ended or erased.
"""

from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.model.accidents import Accidents, action
from tests.model.comparison import REDIS, Handle
from tests.model.drawn import (
    AGAIN,
    COMPANY,
    DIED_WITH,
    INDEXES,
    KEYS,
    MESSAGES,
    ON_BUSY,
    PARENTS,
    PERSIST,
    PICK,
    PROJECTS,
    SIGNALS,
    STATES,
    TIMEOUTS,
    USED,
    USERS,
    WORKERS,
)
from tests.support.turns import delta, request, step
from turnwire.shared.events import ERROR, RUN_COMPLETED, RUN_FAILED, RUN_SUSPENDED, Cursor, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed
from turnwire.shared.replies import Rewound, Submitted
from turnwire.shared.request import TurnRequest
from turnwire.shared.usage import Usage


class SessionMachine(Accidents):
    """One session, from nothing to erased."""

    @initialize(works=st.booleans())
    def first_turn(self, works):
        self._submit(0, request())
        if works:
            self._claim(0, "host/1/a", again=False)

    @rule(action=action.any())
    def then(self, action):
        self.acted = action.happens(self)

    @action(needs="handles", pick=PICK)
    def renew(self, pick):
        handle = self.handle(pick)
        self.both(lambda store, place: store.renew_many([handle.claimed[place]]))

    # -- a client

    @action(
        2,
        index=INDEXES,
        message=MESSAGES,
        on_busy=ON_BUSY,
        user=USERS,
        project=st.sampled_from([None, None, "legal"]),
        bound=st.sampled_from([False, False, True]),
        parent=PARENTS,
    )
    def submit(self, index, message, on_busy, user, project, bound, parent):
        asked = request(message, on_busy=on_busy, user=user, project=project, bound=bound, parent=parent)
        self._submit(index, asked)

    def _submit(self, index: int, asked: TurnRequest) -> None:
        turn = self.session.turn(index)
        self._keep(self.both(lambda store, _: store.submit(turn, asked)))

    @action(message=MESSAGES, on_busy=ON_BUSY, key=KEYS, moved=st.integers(0, 5), parent=PARENTS)
    def submit_next(self, message, on_busy, key, moved, parent):
        asked = request(message, on_busy=on_busy, parent=parent)
        index, _ = self.both(lambda store, _: store.next_index(self.session, key))
        index += moved == 5  # somebody else was quicker
        turn = self.session.turn(index)
        self._keep(self.both(lambda store, _: store.submit_next(turn, asked, key)))

    def _keep(self, replies: tuple[Any, Any]) -> None:
        if isinstance(replies[REDIS], Submitted) and replies[REDIS].verdict in ("created", "reopened"):
            self.submitted.append(replies)

    @action(2, needs="submitted", pick=PICK, again=AGAIN)
    def withdraw(self, pick, again):
        submitted = self.submitted[-1 - pick % min(len(self.submitted), 2)]
        events = [encode_event(ERROR, {"code": "queue_full"}), encode_event(RUN_FAILED, {"code": "queue_full"})]
        self.both(lambda store, place: store.withdraw(submitted[place], events), again=again)

    @action(
        2,
        needs="turns",
        pick=PICK,
        reason=st.sampled_from(["", "enough", 'a/b "c" \x7f\n é']),
        repeated=st.booleans(),
        user=USERS,
    )
    def cancel(self, pick, reason, repeated, user):
        turn = self.session.turn(self.index(pick))
        self.both(lambda store, _: store.cancel(turn, reason, repeated=repeated, user=user))

    @action(2, needs="turns", pick=PICK, key=SIGNALS, user=USERS)
    def signal(self, pick, key, user):
        turn = self.session.turn(self.index(pick))
        payload = f'"{self.new_text()}"'.encode()
        self.both(lambda store, _: store.signal(turn, key, payload, user=user))

    @action(2, needs="turns", pick=PICK, limit=st.integers(0, 3), parent=PARENTS)
    def read(self, pick, limit, parent):
        """Everything that can be asked, as one who has just arrived."""
        session, turn = self.session, self.session.turn(self.index(pick))
        self.both(lambda store, _: store.record(turn))
        self.both(lambda store, _: store.user_of(session))
        self.both(lambda store, _: store.records(session, first=limit // 2, limit=limit + 1))
        self.both(lambda store, _: store.look(session, first=limit // 2 or None, named=[limit]))
        self.both(lambda store, _: store.history(turn, limit, parent))
        self.both(lambda store, _: store.waits_for(turn))
        self.both(lambda store, _: store.persist_tries([turn, session.turn(0)]))
        self.both(lambda store, _: store.steps(turn))
        self.both(lambda store, _: store.standing(turn))
        self.both(lambda store, _: store.ledger(turn))
        self.both(lambda store, _: store.usage(session))
        self.both(lambda store, _: store.is_completed(turn))
        self.both(lambda store, _: store.read(turn, Cursor(1, limit), limit + 1))
        self.both(lambda store, _: store.read_all(turn))

    # -- a worker

    @action(3, needs="turns", pick=PICK, worker=WORKERS, projects=PROJECTS, company=COMPANY, again=AGAIN)
    def claim(self, pick, worker, projects, company, again):
        self._claim(self.index(pick), worker, projects, again=again, company=company)

    @action(2, needs="turns", pick=PICK, worker=WORKERS, company=COMPANY, keeps_tail=st.booleans())
    def take_over(self, pick, worker, company, keeps_tail):
        index = self.index(pick)
        self.drop_lease(index)
        self._claim(index, worker, again=False, company=company, keeps_tail=keeps_tail)

    @action(needs="turns", pick=PICK, worker=WORKERS, crashes=st.integers(1, 6), died_with=DIED_WITH, company=COMPANY)
    def kills_its_workers(self, pick, worker, crashes, died_with, company):
        """The turn runs in one worker after the other, and each of them dies."""
        index = self.index(pick)
        turn = self.session.turn(index)
        for _ in range(crashes):
            self._claim(index, worker, again=False, company=company)
            self.both(lambda store, _: store.free([turn], worker, died_with))
            self.drop_lease(index)
            self.compare_now()

    def _claim(self, index: int, worker: str, projects: list[str] | None = None, *, again: bool, **how: Any) -> None:
        turn = self.session.turn(index)
        redis, memory = self.both(lambda store, _: store.claim(turn, worker, projects, **how), again=again)
        if isinstance(redis, Claimed):  # a process runs one attempt of a turn at a time
            self.handles[index, worker] = Handle(index, (redis, memory), redis.next_seq)

    @action(5, needs="handles", pick=PICK, count=st.integers(0, 2), position=st.integers(0, 4), again=AGAIN)
    def work(self, pick, count, position, again):
        handle = self.handle(pick)
        self._append(handle, [delta(self.new_text()) for _ in range(count)], again=again)
        if position < 3:
            self._checkpoint(handle, position, again=again)

    @action(needs="handles", pick=PICK)
    def append_where_others_wrote(self, pick):
        """Only what is there already may be written again."""
        handle = self.handle(pick)
        self.both(lambda store, place: store.append_many([(handle.claimed[place], 0, [delta("again")])]))

    def _append(self, handle: Handle, events: list[bytes], *, again: bool) -> None:
        replies = self.both(
            lambda store, place: store.append_many([(handle.claimed[place], handle.seq, events)]), again=again
        )
        if replies[REDIS] == [None]:
            handle.seq += len(events)

    def _checkpoint(self, handle: Handle, position: int, *, again: bool) -> None:
        turn = self.turns.get(handle.index)
        if turn and turn.steps.get(position, b"").startswith(b'{"status":"completed"'):
            return  # a completed step is never asked again
        done = step(position, str(handle.cursor), result=self.new_text())
        if self.texts % 3:  # its attempt had called a model by then
            done = msgspec.structs.replace(done, usage=Usage(self.texts % 5 + 1, 7, None, 5, "EUR"))
        if self.texts % 4 == 0:  # it failed: it covers nothing, and is tried again
            done = msgspec.structs.replace(done, status="failed")
        history = b"" if self.texts % 2 else f'["{self.texts}"]'.encode()
        known = self.checkpoints_of(handle.index)
        counted = {"number": known + 1, "known": known} if self.texts % 7 else {}
        self.both(lambda store, place: store.checkpoint(handle.claimed[place], done, history, **counted), again=again)

    def checkpoints_of(self, index: int) -> int:
        turn = self.turns.get(index)
        return int(turn.fields.get("checkpoints", "0")) if turn else 0

    @action(2, needs="handles", pick=PICK, key=SIGNALS, timeout_ms=TIMEOUTS, used=USED, again=AGAIN)
    def suspend(self, pick, key, timeout_ms, used, again):
        handle = self.handle(pick)
        event = encode_event(RUN_SUSPENDED, {"awaiting": key, "timeoutMs": timeout_ms})
        self.both(
            lambda store, place: store.suspend(
                handle.claimed[place], key, timeout_ms, handle.seq, event, used, used and b"[]"
            ),
            again=again,
        )

    @action(needs="handles", pick=PICK, key=SIGNALS, position=st.integers(0, 4), worker=WORKERS, asked_again=AGAIN)
    def wait_in_vain(self, pick, key, position, worker, asked_again):
        """The signal does not come in time. The turn says so and fails; asked again, it waits anew."""
        index = self.handle(pick).index
        self.suspend(pick, key, 3_600_000, b"", False)
        self.compare_now()
        if index not in self.suspended:
            return
        self.pass_deadline(index, late=True)
        self.compare_now()
        self._claim(index, worker, again=False)
        self.compare_now()
        handle = self.handles.get((index, worker))
        if handle is None or not self.is_current(handle):
            return
        result = {"emitted_at": 1, "timed_out": True}
        done = msgspec.structs.replace(step(position, str(handle.cursor), f"signal:{key}", result), kind="signal")
        if not self.turns[index].steps.get(position, b"").startswith(b'{"status":"completed"'):
            self.both(lambda store, place: store.checkpoint(handle.claimed[place], done))
        self._settle(handle, TurnState.FAILED, "none", b"", again=False, code="signal_timeout")
        if asked_again:
            self.compare_now()
            self._submit(index, request())

    @action(2, needs="handles", pick=PICK, back=st.integers(0, 4), used=USED, again=AGAIN)
    def rewind(self, pick, back, used, again):
        handle = self.handle(pick)
        turn = self.turns.get(handle.index)
        log = [cursor for cursor, _ in turn.log] if turn and turn.log else [Cursor(1, 0)]
        after = str(log[max(len(log) - 1 - back, 0)])
        redis, memory = self.both(lambda store, place: store.rewind(handle.claimed[place], after, used), again=again)
        if isinstance(redis, Rewound):
            handle.claimed, handle.seq = (redis.claimed, memory.claimed), redis.claimed.next_seq

    @action(needs="handles", pick=PICK, again=AGAIN)
    def hand_over(self, pick, again):
        self._hand_over(self.handle(pick), again=again)

    def _hand_over(self, handle: Handle, *, again: bool) -> None:
        self.both(lambda store, place: store.handover(handle.claimed[place]), again=again)

    @action(2, needs="handles", pick=PICK, state=STATES, persist=PERSIST, used=USED, again=AGAIN)
    def settle(self, pick, state, persist, used, again):
        self._settle(self.handle(pick), state, persist, used, again=again)

    def _settle(
        self, handle: Handle, state: TurnState, persist: str, used: bytes, *, again: bool, code: str = "x"
    ) -> None:
        fields: dict[str, Any] = {"persist": persist}
        if state is TurnState.COMPLETED:
            events, fields["final_text"] = [encode_event(RUN_COMPLETED, {})], self.new_text()
        else:
            events = [encode_event(RUN_FAILED, {"code": "x"})]
            fields |= {"error_code": code, "error_message": "m", "retryable": 1}
            fields |= {"partial_text": "p", "in_history": 1} if self.texts % 2 else {}
        last = step(9, "", "turn", fields["final_text"]) if "final_text" in fields and self.texts % 2 else None
        outcome = state, handle.seq, events, fields, used
        self.both(lambda store, place: store.settle(handle.claimed[place], *outcome, step=last), again=again)

    @action(3, needs="turns", pick=PICK, end=st.sampled_from(["begin", "begin", "fail", "done"]), company=COMPANY)
    def persist(self, pick, end, company):
        index = self.pending[pick % len(self.pending)] if self.pending and pick < 6 else self.index(pick)
        turn, text = self.session.turn(index), self.new_text()
        if end == "done":
            self.both(lambda store, _: store.persisted(turn, text))
        elif end == "fail":
            self.both(lambda store, _: store.persist_failed(turn))
        else:
            self.both(lambda store, _: store.try_to_persist(turn, 0, 0, company=company))

    # -- the end

    @action(asked_anew=st.booleans(), worker=WORKERS, dies=st.booleans())
    def erase(self, asked_anew, worker, dies):
        self.erased = True
        self.both(lambda store, _: store.erase(self.session))
        if asked_anew:
            self._submit(0, request())
            self._claim(0, worker, again=False)
            if dies:
                self.drop_lease(0)
            self.seen = self.look()
            for handle in [handle for handle in self.handles.values() if not self.is_current(handle)]:
                self._append(handle, [delta("of an erased turn")], again=False)  # it has not heard of it yet
                self._hand_over(handle, again=False)
                self._settle(handle, TurnState.COMPLETED, "none", b"", again=False)
