"""The rules: what clients, workers, API processes and time may do to a session, in any order.

A worker here is as bad as a worker can be: it goes on after its lease was lost, its turn taken over, ended or erased.
"""

from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.model.actions import Actions
from tests.model.comparison import Comparison, Handle
from tests.model.model_turn import TIMED_OUT
from tests.model.observed_session import signal_payload
from tests.support.turns import delta, request, step
from turnwire.shared.events import ERROR, RUN_COMPLETED, RUN_FAILED, RUN_SUSPENDED, Cursor, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed, Submitted, TurnRequest

INDEXES = st.sampled_from([0, 0, 0, 1, 2])
WORKERS = st.sampled_from(["host/1/a", "host/2/b"])
MESSAGES = st.sampled_from(["hello"] * 9 + ["other"])
ON_BUSY = st.sampled_from(["enqueue", "concurrent", "interrupt", "reject"])
SIGNALS = st.sampled_from(["approval", "payment"])
PICK = st.integers(0, 7)  # one of those that are there
AGAIN = st.booleans()  # its reply was lost, so it is done once more
STATES = st.sampled_from([TurnState.COMPLETED, TurnState.FAILED, TurnState.CANCELLED])

action = Actions()


class SessionMachine(Comparison):
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

        async def renewed() -> bool:
            [reply] = await self.store.renew_many([handle.claimed])
            if isinstance(reply, Exception):
                raise reply
            return reply

        self.both(renewed, lambda: self.model.renew(*handle.ours))

    # -- a client

    @action(2, index=INDEXES, message=MESSAGES, on_busy=ON_BUSY)
    def submit(self, index, message, on_busy):
        self._submit(index, request(message, on_busy=on_busy))

    def _submit(self, index: int, asked: TurnRequest) -> None:
        turn = self.session.turn(index)
        self._keep(self.both(lambda: self.store.submit(turn, asked), lambda: self.model.submit(index, asked)))

    @action(message=MESSAGES, on_busy=ON_BUSY, key=st.sampled_from(["", "", "key"]), moved=st.integers(0, 5))
    def submit_next(self, message, on_busy, key, moved):
        asked = request(message, on_busy=on_busy)
        index = self.run(self.store.next_index(self.session, key))
        assert index == self.model.index_for(key)
        index += moved == 5  # somebody else was quicker
        turn = self.session.turn(index)
        self._keep(
            self.both(
                lambda: self.store.submit_next(turn, asked, key), lambda: self.model.submit_next(index, asked, key)
            )
        )

    def _keep(self, reply: Any) -> None:
        if isinstance(reply, Submitted) and reply.verdict in ("created", "reopened"):
            self.submitted.append((reply, self.model.turns[reply.key.index].mark))

    @action(2, needs="submitted", pick=PICK, again=AGAIN)
    def withdraw(self, pick, again):
        submitted, mark = self.submitted[-1 - pick % min(len(self.submitted), 2)]
        events = [encode_event(ERROR, {"code": "queue_full"}), encode_event(RUN_FAILED, {"code": "queue_full"})]
        self.both(
            lambda: self.store.withdraw(submitted, events),
            lambda: self.model.withdraw(submitted.key.index, submitted.verdict, mark, events),
            again=again,
        )

    @action(2, needs="turns", pick=PICK, reason=st.sampled_from(["", "enough"]))
    def cancel(self, pick, reason):
        index = self.index(pick)
        self.both(lambda: self.store.cancel(self.session.turn(index), reason), lambda: self.model.cancel(index, reason))

    @action(2, needs="turns", pick=PICK, key=SIGNALS)
    def signal(self, pick, key):
        index = self.index(pick)
        payload = f'"{self.new_text()}"'.encode()

        async def stored() -> Any:
            first, signal, enqueue = await self.store.signal(self.session.turn(index), key, payload)
            return first, signal_payload(signal), enqueue

        self.both(stored, lambda: self.model.signal(index, key, payload))

    # -- a worker

    @action(3, needs="turns", pick=PICK, worker=WORKERS, again=AGAIN)
    def claim(self, pick, worker, again):
        self._claim(self.index(pick), worker, again=again)

    @action(2, needs="turns", pick=PICK, worker=WORKERS)
    def take_over(self, pick, worker):
        index = self.index(pick)
        self._drop_lease(index)
        self._claim(index, worker, again=False)

    def _claim(self, index: int, worker: str, *, again: bool) -> None:
        turn = self.session.turn(index)
        reply = self.both(lambda: self.store.claim(turn, worker), lambda: self.model.claim(index, worker), again=again)
        if isinstance(reply, Claimed):  # a process runs one attempt of a turn at a time
            self.handles[index, worker] = Handle(index, reply, reply.next_seq)

    @action(5, needs="handles", pick=PICK, count=st.integers(0, 2), position=st.integers(0, 4), again=AGAIN)
    def work(self, pick, count, position, again):
        handle = self.handle(pick)
        self._append(handle, [delta(self.new_text()) for _ in range(count)], again=again)
        if position < 3:
            self._checkpoint(handle, position, again=again)

    def _append(self, handle: Handle, events: list[bytes], *, again: bool) -> None:
        async def appended() -> None:
            [error] = await self.store.append_many([(handle.claimed, handle.seq, events)])
            if error is not None:
                raise error

        if self.both(appended, lambda: self.model.append(*handle.ours, events), again=again) is None:
            handle.seq += len(events)

    def _checkpoint(self, handle: Handle, position: int, *, again: bool) -> None:
        turn = self.model.turns.get(handle.index)
        if turn and turn.steps.get(position, (None,))[0]:
            return  # a completed step is never asked again
        done = step(position, str(handle.cursor), result=self.new_text())
        cursor: Cursor | None = handle.cursor
        if self.texts % 4 == 0:  # it failed: it covers nothing, and is tried again
            done, cursor = msgspec.structs.replace(done, status="failed"), None
        self.both(
            lambda: self.store.checkpoint(handle.claimed, done),
            lambda: self.model.checkpoint(*handle.ours, (position, cursor, bytes(done.result))),
            again=again,
        )

    @action(2, needs="handles", pick=PICK, key=SIGNALS, timeout_ms=st.sampled_from([None, 3_600_000]), again=AGAIN)
    def suspend(self, pick, key, timeout_ms, again):
        handle = self.handle(pick)
        event = encode_event(RUN_SUSPENDED, {"awaiting": key, "timeoutMs": timeout_ms})

        async def suspended() -> bytes | None:
            signal = await self.store.suspend(handle.claimed, key, timeout_ms, handle.seq, event)
            return None if isinstance(signal, bytes) else TIMED_OUT if signal.timed_out else bytes(signal.payload)

        limited = timeout_ms is not None
        self.both(suspended, lambda: self.model.suspend(*handle.ours, key, limited=limited, event=event), again=again)

    @action(2, needs="handles", pick=PICK, back=st.integers(0, 4), again=AGAIN)
    def rewind(self, pick, back, again):
        handle = self.handle(pick)
        turn = self.model.turns.get(handle.index)
        log = [cursor for cursor, _ in turn.log] if turn and turn.log else [Cursor(1, 0)]
        after = log[max(len(log) - 1 - back, 0)]
        worker = handle.claimed.token.rpartition("#")[0]

        async def rewound() -> Any:
            claimed, _ = await self.store.rewind(handle.claimed, worker, str(after))
            return claimed.attempt, claimed.next_seq

        reply = self.both(rewound, lambda: self.model.rewind(*handle.ours, after), again=again)
        if isinstance(reply, tuple):
            attempt, handle.seq = reply
            handle.claimed = msgspec.structs.replace(handle.claimed, attempt=attempt, token=f"{worker}#{attempt}")

    @action(needs="handles", pick=PICK, again=AGAIN)
    def hand_over(self, pick, again):
        self._hand_over(self.handle(pick), again=again)

    def _hand_over(self, handle: Handle, *, again: bool) -> None:
        async def handed_over() -> None:
            await self.store.handover(handle.claimed)

        self.both(handed_over, lambda: self.model.handover(*handle.ours), again=again)

    @action(2, needs="handles", pick=PICK, state=STATES, persist=st.sampled_from(["none", "pending"]), again=AGAIN)
    def settle(self, pick, state, persist, again):
        self._settle(self.handle(pick), state, persist, again=again)

    def _settle(self, handle: Handle, state: TurnState, persist: str, *, again: bool) -> None:
        fields: dict[str, Any] = {"persist": persist}
        if state is TurnState.COMPLETED:
            events, fields["final_text"] = [encode_event(RUN_COMPLETED, {})], self.new_text()
        else:
            events = [encode_event(RUN_FAILED, {"code": "x"})]
            fields |= {"error_code": "x", "error_message": "m", "retryable": 1}

        async def settled() -> int | None:
            return (await self.store.settle(handle.claimed, state, handle.seq, events, fields))[0]

        self.both(settled, lambda: self.model.settle(*handle.ours, state, events, fields), again=again)

    @action(2, needs="pending", pick=PICK, works=st.booleans())
    def persist(self, pick, works):
        index = self.pending[pick % len(self.pending)]
        text = self.new_text() if works else None
        self.both(
            lambda: self.store.persisted(self.session.turn(index), text), lambda: self.model.persisted(index, text)
        )

    # -- accidents, and time

    def _drop_lease(self, index: int) -> None:
        self.world.redis.delete(self.session.turn(index).lease)
        if index in self.model.turns:
            self.model.turns[index].lease = None

    @action(needs="leased", pick=PICK)
    def lease_lapses(self, pick):
        self._drop_lease(self.leased[pick % len(self.leased)])

    @action(needs="leased", worker=WORKERS)
    def worker_is_declared_dead(self, worker):
        self.run(self.store.free([self.session.turn(index) for index in self.model.turns], worker))
        for turn in self.model.turns.values():
            if turn.lease and turn.lease.startswith(f"{worker}#"):
                turn.lease = None

    @action(2, needs="suspended", pick=PICK, late=st.booleans())
    def deadline(self, pick, late):
        index = self.suspended[pick % len(self.suspended)]
        turn = self.model.turns[index]
        if late and turn.deadline:
            turn.overdue = True
            self.world.redis.hset(self.session.turn(index).record, "deadline", 1)

        async def left() -> int | None:
            left_ms = await self.store.expire(self.session.turn(index))
            return left_ms and min(left_ms, 1)

        self.both(left, lambda: self.model.expire(index))

    @action(asked_anew=st.booleans(), worker=WORKERS, dies=st.booleans())
    def erase(self, asked_anew, worker, dies):
        existed = self.model.exists
        self.model.forget()
        self.erased = True
        assert self.run(self.store.erase(self.session)) is existed
        if asked_anew:
            self._submit(0, request())
            self._claim(0, worker, again=False)
            if dies:
                self._drop_lease(0)
            self.seen = self.look()
            for handle in [handle for handle in self.handles.values() if not self.is_current(handle)]:
                self._append(handle, [delta("of an erased turn")], again=False)  # it has not heard of it yet
                self._hand_over(handle, again=False)
                self._settle(handle, TurnState.COMPLETED, "none", again=False)
