"""A session in memory, with its clock and its workers, in which `run_turn` runs its turn."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from turnwire.shared.content import content_of
from turnwire.shared.events import Entry
from turnwire.shared.given_names import signal_key
from turnwire.shared.keys import SessionKey, TurnKey
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Claimed, TurnRecord
from turnwire.shared.options import options_of
from turnwire.shared.replies import CancelVerdict
from turnwire.shared.request import TurnRequest
from turnwire.shared.settings import Settings
from turnwire.shared.store.waking import cancel_and_wake
from turnwire.testing.cancels import PlannedCancel
from turnwire.testing.clock import ManualClock
from turnwire.testing.errors import CancelNeverCame, CrashPointNeverReached, SignalNeverAsked, TurnNeverEnds, WrongUse
from turnwire.testing.faults import Fault, Faults, WorkerLife
from turnwire.testing.memory import Memory
from turnwire.testing.memory_queue import MemoryQueue
from turnwire.testing.memory_store import MemoryStore
from turnwire.testing.observed import Observations, checked_hooks
from turnwire.testing.queue_memory import QueueMemory
from turnwire.testing.reading import Reader
from turnwire.testing.worker import LoneWorker
from turnwire.worker.pool.sweep import Sweep

JOBS: Final = 1000  # a turn that takes more jobs never ends
OUTBOX_TRIES: Final = 2  # an answer that cannot be persisted is tried so often after its turn has ended
EARLIER: Final = "earlier"  # the name of the worker that made the history
SWEEPER: Final = "sweeper"  # the name of the worker that sweeps

History: TypeAlias = Sequence[tuple[str, str] | Mapping[str, str]]


class TimesOut:
    """The class of `TIMES_OUT`, which stands for the payload of a signal that does not come in time."""

    def __repr__(self) -> str:
        return "TIMES_OUT"


TIMES_OUT: Final = TimesOut()


class Stage:
    """Runs the turns of one session, one after the other, until nothing is left to do."""

    def __init__(self, hooks: Any, session: SessionKey, clock: ManualClock, settings: Settings) -> None:
        self.clock = clock
        self.session = session
        self.settings = settings
        self.memory = Memory(clock)
        self.store = MemoryStore(self.memory, settings)
        self._hooks = hooks
        self._queue_memory = QueueMemory(clock)
        self._queue = MemoryQueue(self._queue_memory, settings)
        self._workers = 0
        self.faults = Faults()
        self._cancel: PlannedCancel | None = None
        self.seen = Observations()
        self.reader = Reader(session.turn(0))
        self._request = TurnRequest(message="")

    async def add_history(self, history: History) -> None:
        """Write earlier turns that have completed.

        Raises:
            WrongUse: the messages are not pairs of a user's message and the assistant's.
        """
        for message, answer in pairs_of(history):
            key = self.session.turn(await self.store.next_index(self.session))
            await self.store.submit(key, TurnRequest(message=message))
            claimed = await self.store.claim(key, EARLIER)
            assert isinstance(claimed, Claimed), "nobody else claims it"
            fields = {"final_text": answer, "persist": "done"}
            await self.store.settle(claimed, TurnState.COMPLETED, claimed.next_seq, [], fields)

    async def run(
        self,
        request: TurnRequest,
        signals: Mapping[str, Any],
        faults: Sequence[Fault] = (),
        *,
        cancel_after: int | None = None,
        cancel_reason: str = "",
    ) -> TurnKey:
        """Run the session's next turn until it ends, or waits for a signal that is not given.

        Raises:
            SignalNeverAsked, CrashPointNeverReached, CancelNeverCame: see `run_turn`.
            TurnNeverEnds, NotHooks, WrongUse: see `run_turn`.
        """
        key = await self.submit(request)
        if cancel_after is not None:
            self._cancel = PlannedCancel(cancel_after, lambda: self._send_cancel(key, cancel_reason))
        await self._play(key, signals, faults)
        if self._cancel is not None and not self._cancel.sent:
            ended = _standing(await self.record(key))
            raise CancelNeverCame(f"the producer yielded fewer than {cancel_after} events; {ended}")
        self._cancel = None
        return key

    async def retry(self, key: TurnKey, signals: Mapping[str, Any]) -> None:
        """Ask a turn that has failed or was cancelled again, with the same request.

        Raises:
            WrongUse: the turn has neither failed nor was it cancelled.
        """
        submitted = await self.store.submit(key, self._request)
        if submitted.verdict != "reopened":
            raise WrongUse(f"only a turn that failed can be asked again: {_standing(await self.record(key))}")
        await self._queue.enqueue(key.run_id)
        await self._play(key, signals, [])

    async def _play(self, key: TurnKey, signals: Mapping[str, Any], faults: Sequence[Fault]) -> None:
        self.faults = Faults(faults)
        await self.play(key, signals)
        if self.faults.left:
            points = ", ".join(repr(fault.at) for fault in self.faults.left)
            reached = ", ".join(f"{number} {name}" for number, name in enumerate(self.faults.reached, 1))
            raise CrashPointNeverReached(f"no write {points}; the turn made {reached}")

    async def submit(self, request: TurnRequest) -> TurnKey:
        """Ask the session's next turn, and enqueue it."""
        key = self.session.turn(await self.store.next_index(self.session))
        self.seen, self.reader = Observations(), Reader(key)
        self.memory.readers = [self.reader]
        self._request = request
        await self.store.submit(key, request)
        await self._queue.enqueue(key.run_id)
        return key

    async def play(self, key: TurnKey, signals: Mapping[str, Any]) -> None:
        """Run the turn, and give it its signals when it waits for them.

        Raises:
            SignalNeverAsked: one of the signals is left, and the turn has ended or waits for another one.
            TurnNeverEnds: the turn was run a thousand times and has not ended.
        """
        left = {signal_key(name): payload for name, payload in signals.items()}
        await self._run_what_is_due(key)
        record = await self.record(key)
        while record.awaiting is not None and record.awaiting in left:
            payload = left.pop(record.awaiting)
            if payload is TIMES_OUT:
                await self._time_out(key)
            else:
                await self.signal(key, record.awaiting, payload)
            await self._run_what_is_due(key)
            record = await self.record(key)
        if left:
            raise SignalNeverAsked(f"{_standing(record)} and never asked for the signal {_names(left)}")

    async def signal(self, key: TurnKey, name: str, payload: Any) -> None:
        """Send a signal, as a client does.

        Raises:
            TurnEnded: the turn has ended.
        """
        signalled = await self.store.signal(key, name, msgspec.json.encode(payload))
        if signalled.enqueue:
            await self._queue.enqueue(key.run_id, accepted=True)

    async def cancel(self, key: TurnKey, reason: str) -> None:
        """Cancel the turn, as a client does, and run on."""
        await self._send_cancel(key, reason)
        await self._run_what_is_due(key)

    async def _send_cancel(self, key: TurnKey, reason: str) -> CancelVerdict:
        return await cancel_and_wake(self.store, self._queue, key, reason)

    async def wait(self, key: TurnKey, seconds: float) -> None:
        """Let time pass, and run the jobs that fall due."""
        self.clock.advance(seconds)
        await Sweep(self.store, self._queue, SWEEPER).once()
        await self._run_what_is_due(key)

    async def record(self, key: TurnKey) -> TurnRecord:
        """Return the turn's record as it is now.

        Raises:
            WrongUse: retention has removed the turn.
        """
        record = await self.store.record(key)
        if record is None:
            raise WrongUse(f"{key.run_id} is gone: the clock has passed the time for which a turn is kept")
        return record

    async def log(self, key: TurnKey) -> list[Entry]:
        """Return the log as a fresh reader sees it now."""
        return await self.store.read_all(key)

    async def _time_out(self, key: TurnKey) -> None:
        turn = self.memory.turn(key)
        assert turn is not None, "it waits"
        if "deadline" not in turn.fields:
            raise WrongUse(f"the signal {turn.fields['awaiting']!r} cannot time out: the turn waits without a limit")
        left_ms = int(turn.fields["deadline"]) - self.clock.now_ms
        self.clock.advance(max(left_ms, 0) / 1000)
        await Sweep(self.store, self._queue, SWEEPER).once()

    async def _run_what_is_due(self, key: TurnKey) -> None:
        """Run jobs until none is left. If the only thing left to do is to wait, the clock is moved."""
        worker = self._new_worker()
        for _ in range(JOBS):
            if worker.dead:
                worker = self._new_worker()
            taken, wait_ms = await worker.queue.take(worker.id, 1)
            if not taken and wait_ms is None:
                return
            if not taken:
                self.clock.advance((wait_ms or 0) / 1000)
                continue
            async with worker.at_work():
                await worker.run(taken[0])
            if await self._outbox_gives_up(key):
                return
        raise TurnNeverEnds(f"{key.run_id} was run {JOBS} times and has not ended")

    async def _outbox_gives_up(self, key: TurnKey) -> bool:
        record = await self.store.record(key)
        if record is None or not record.terminal or record.persist != "pending":
            return False
        return (await self.store.persist_tries([key]))[0] >= OUTBOX_TRIES

    def _new_worker(self) -> LoneWorker:
        self._workers += 1
        life = WorkerLife(self.faults)
        store = MemoryStore(self.memory, self.settings, life)
        queue = MemoryQueue(self._queue_memory, self.settings, life)
        name, hooks = f"worker/{self._workers}", checked_hooks(self._hooks)
        worker = LoneWorker(name, hooks, store, queue, life, self.seen, self._cancel)
        self.memory.cancels = [worker.runner.look_if_cancelled]
        return worker


def request_of(message: Any, *, options: Any = None, **fields: Any) -> TurnRequest:
    """Make a client's request. It is checked as the API checks it.

    Raises:
        InvalidInput: the message or the options are not what a client may send.
    """
    return TurnRequest(message=content_of(message), options=options_of(options), **fields)


def pairs_of(history: History) -> list[tuple[str, str]]:
    """Return pairs of messages. `history` may be such pairs, or chat messages: user, assistant, user, …

    Raises:
        WrongUse: the chat messages are in another order, or the last one is the user's.
    """
    pairs: list[tuple[str, str]] = []
    asked: str | None = None
    for entry in history:
        if not isinstance(entry, Mapping):
            message, answer = entry
            pairs.append((message, answer))
        elif entry.get("role") == "user" and asked is None:
            asked = entry["content"]
        elif entry.get("role") == "assistant" and asked is not None:
            pairs.append((asked, entry["content"]))
            asked = None
        else:
            raise WrongUse("history takes turns: a user's message, then the assistant's, and so on")
    if asked is not None:
        raise WrongUse("history ends with a message of the user that nobody answered: give it as the turn's message")
    return pairs


def _standing(record: TurnRecord) -> str:
    if record.awaiting is not None:
        return f"the turn waits for the signal {record.awaiting!r}"
    why = f" ({record.error.code}: {record.error.message})" if record.error is not None else ""
    return f"the turn is {record.status.value}{why}"


def _names(signals: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, signals))
