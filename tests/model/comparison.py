"""Does the same to the store and to the model, and compares: replies, refusals, every key, what must always hold."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, invariant
from redis import Redis

from tests.model.model_turn import ModelTurn
from tests.model.observed_session import (
    Stored,
    StoredSession,
    as_modelled,
    as_stored,
    check_ledger,
    check_lifetimes,
    check_log,
    observe,
)
from tests.model.session_model import SessionModel
from turnwire.shared.errors import TurnwireError
from turnwire.shared.events import Cursor
from turnwire.shared.keys import SessionKey
from turnwire.shared.lifecycle import TRANSITIONS, TurnState
from turnwire.shared.model import Claimed, Ended, Held, Submitted, Suspended, Waits
from turnwire.shared.store.turns import TurnStore

WAYS = {(state.value, after.value) for (state, _), after in TRANSITIONS.items()}


@dataclass
class World:
    """What the machine plays with: the store and its loop, and a client to look with."""

    store: TurnStore
    redis: Redis
    loop: asyncio.AbstractEventLoop
    sessions: int = 0

    def next_session(self) -> SessionKey:
        self.sessions += 1
        return SessionKey("default", f"s{self.sessions}")


@dataclass
class Handle:
    """What a worker's process knows of its attempt."""

    index: int
    claimed: Claimed
    seq: int

    @property
    def ours(self) -> tuple[int, int, str]:
        return self.index, self.claimed.attempt, self.claimed.token

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.claimed.attempt, self.seq - 1)


def outcome(call: Callable[[], Any]) -> Any:
    """What it returns, or the type of the error that it raises."""
    try:
        return call()
    except TurnwireError as error:
        return type(error)


def plain(reply: Any) -> Any:
    """A reply of the store as the model gives it."""
    match reply:
        case Claimed():
            return "claimed", reply.attempt, reply.next_seq, reply.first_event, sorted(reply.steps)
        case Held():
            return ("held",)
        case Waits():
            return "waits", reply.index, reply.interrupt
        case Suspended():
            return ("suspended",)
        case Ended():
            return "ended", reply.next_index
        case Submitted():
            return reply.verdict, reply.attempt
        case _:
            return reply


class Comparison(RuleBasedStateMachine):
    """A session in Redis and its model; the rules are in SessionMachine."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.store = world, world.store
        self.session = world.next_session()
        settings = world.store.settings
        self.model = SessionModel(self.session.session, settings.max_attempts, settings.max_turns_per_session)
        self.handles: dict[tuple[int, str], Handle] = {}
        self.submitted: list[tuple[Submitted, int]] = []
        self.texts = 0
        self.erased = False
        self.acted = True
        self.seen = self.look()

    # -- doing the same to both

    def look(self) -> StoredSession:
        return observe(self.world.redis, self.session, max(self.model.next_index, 3) + 1)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.world.loop.run_until_complete(coroutine)

    def both(
        self, ask: Callable[[], Coroutine[Any, Any, Any]], expect: Callable[[], Any], *, again: bool = False
    ) -> Any:
        """Ask the store (twice, if a reply was lost) and the model; they must agree. Returns the store's reply."""
        reply = outcome(lambda: self.run(ask()))
        expected = outcome(expect)
        assert plain(reply) == expected
        if isinstance(reply, type):
            assert self.look() == self.seen, "what was refused changed nothing"
        elif again:
            assert plain(outcome(lambda: self.run(ask()))) == plain(reply), "repeating it gives the same"
        return reply

    @property
    def turns(self) -> dict[int, ModelTurn]:
        return self.model.turns

    @property
    def leased(self) -> list[int]:
        return [index for index, turn in self.turns.items() if turn.lease]

    @property
    def suspended(self) -> list[int]:
        return [index for index, turn in self.turns.items() if turn.awaiting]

    @property
    def pending(self) -> list[int]:
        return [index for index, turn in self.turns.items() if turn.persist == "pending"]

    def index(self, pick: int) -> int:
        """Of a turn that is there, sometimes of one that is not."""
        return [*self.model.turns, self.model.next_index][pick % (len(self.model.turns) + pick // 7)]

    def handle(self, pick: int) -> Handle:
        """Mostly one that may write, sometimes any."""
        handles = list(self.handles.values())
        current = [handle for handle in handles if self.is_current(handle)]
        chosen = current if current and pick < 6 else handles
        return chosen[pick % len(chosen)]

    def is_current(self, handle: Handle) -> bool:
        index, attempt, token = handle.ours
        turn = self.model.turns.get(index)
        return turn is not None and turn.state is TurnState.RUNNING and turn.is_last(attempt, token)

    def new_text(self) -> str:
        self.texts += 1
        return f"text {self.texts}"

    # -- after every rule

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        if not self.acted:
            return
        before, self.seen, self.acted = self.seen, self.look(), False
        now = self.seen
        assert {index: as_stored(turn) for index, turn in now.turns.items()} == {
            index: as_modelled(turn) for index, turn in self.model.turns.items()
        }
        assert (now.indexes, now.open) == (sorted(self.model.turns), self.model.open)
        assert int(now.record.get(b"next_index", 0)) == self.model.next_index
        check_lifetimes(now)
        check_ledger(now)
        for turn in now.turns.values():
            check_log(turn)
        for index, turn in now.turns.items():
            if index in before.turns:
                check_change(before.turns[index], turn, erased=self.erased)
        self.erased = False

    def teardown(self) -> None:
        """A session that is erased leaves nothing at all."""
        self.run(self.store.erase(self.session))
        assert self.world.redis.keys(f"*{{{self.session.scope}}}*") == []


def check_change(before: Stored, now: Stored, *, erased: bool) -> None:
    """What one rule may do to a turn."""
    was, became = before.text("status"), now.text("status")
    if erased:
        return
    assert was == became or (was, became) in WAYS, "only along the table"
    for position, record in before.steps.items():
        if record.startswith(b'{"status":"completed"'):
            assert now.steps[position] == record, "a completed step stays"
    for attempt, row in before.ledger.items():
        assert now.ledger[attempt] == row, "a row is written once"
    for key, signal in before.signals.items():
        assert now.signals[key] == signal, "the first signal of a key stays"
