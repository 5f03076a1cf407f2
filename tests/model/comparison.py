"""Does the same to Redis and to the store in memory, and compares: replies, refusals, all that is stored.

What must hold of every session is checked besides, so a fault that both stores share is found, too.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from hypothesis.stateful import RuleBasedStateMachine, invariant
from redis import Redis

from tests.model.observed_session import (
    LOOK,
    Stored,
    StoredSession,
    check_ledger,
    check_lifetimes,
    check_log,
    check_suspended,
    observe,
    session_in_memory,
    session_in_redis,
    timeless_row,
    timeless_signal,
)
from turnwire.shared.errors import TurnwireError
from turnwire.shared.events import Cursor
from turnwire.shared.keys import SessionKey
from turnwire.shared.ledger import LedgerRow
from turnwire.shared.lifecycle import TRANSITIONS
from turnwire.shared.model import Claimed, Ended, Held, Signal, Suspended, TurnRecord, Unserved
from turnwire.shared.replies import Cancelled, GivenUp, Rewound, Settled, Signalled, Submitted
from turnwire.shared.settings import Settings
from turnwire.shared.store.session_look import Look
from turnwire.shared.store.turns import TurnStore
from turnwire.testing.clock import ManualClock
from turnwire.testing.memory import Memory, MemorySession, MemoryTurn
from turnwire.testing.memory_store import MemoryStore

WAYS = {(state.value, after.value) for (state, _), after in TRANSITIONS.items()}
REDIS, MEMORY = 0, 1  # the places in a pair
Ask: TypeAlias = Callable[[TurnStore, int], Coroutine[Any, Any, Any]]  # the second: which store it is
RECORD_TIMES = {"created_at": 0, "started_at": None, "updated_at": 0, "completed_at": None}


@dataclass
class World:
    """The two stores and their event loop, and a client that looks at Redis."""

    store: TurnStore
    redis: Redis
    loop: asyncio.AbstractEventLoop
    sessions: int = 0

    def __post_init__(self) -> None:
        self.memory = Memory(ManualClock())
        self.look = self.redis.register_script(LOOK)

    @property
    def settings(self) -> Settings:
        return self.store.settings

    def next_session(self) -> SessionKey:
        self.sessions += 1
        return SessionKey("default", f"s{self.sessions}")


@dataclass
class Handle:
    """The knowledge of a worker's process about its attempt, in each of the two stores."""

    index: int
    claimed: tuple[Claimed, Claimed]
    seq: int

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.claimed[REDIS].attempt, self.seq - 1)

    @property
    def worker(self) -> str:
        return self.claimed[REDIS].worker


def plain(reply: Any) -> Any:
    """A reply without what two stores with two clocks may differ in."""
    match reply:
        case Claimed():
            timeless = msgspec.structs.replace(reply, at_ms=0, waited_ms=None)
            return msgspec.structs.replace(timeless, record=plain(reply.record), rows=plain(reply.rows))
        case TurnRecord():
            return msgspec.structs.replace(reply, **RECORD_TIMES)
        case Held() | Unserved():
            return type(reply), getattr(reply, "project", None)
        case Ended():
            return msgspec.structs.replace(reply, rows=plain(reply.rows), record=plain(reply.record))
        case Submitted():
            return msgspec.structs.replace(reply, mark="a mark" if reply.mark else "", completed=plain(reply.completed))
        case Cancelled() | Suspended() | GivenUp() | Rewound() | Settled() | Signalled():
            return [type(reply), *map(plain, msgspec.structs.astuple(reply))]
        case TurnwireError():
            return type(reply), getattr(reply, "index", None)
        case dict():
            return {name: plain(value) for name, value in reply.items()}
        case tuple() | list():
            return [plain(part) for part in reply]
        case _:
            return without_times(reply)


def without_times(reply: Any) -> Any:
    """The same for rows and signals, decoded or not, and for a look at a session."""
    match reply:
        case Look():
            return {index: msgspec.structs.replace(turn, updated_at=0) for index, turn in reply.turns.items()}
        case LedgerRow() | Signal():
            return without_times(msgspec.json.encode(reply))
        case bytes() if reply.startswith(b'{"attempt":'):
            return timeless_row(reply)
        case bytes() if b'"emitted_at":' in reply:
            return timeless_signal(reply)
        case _:
            return reply


def without_cut(reply: Any) -> Any:
    """A claim's reply, but for the events that it took back: a repeated one cannot name them again."""
    return msgspec.structs.replace(reply, cut=[]) if isinstance(reply, Claimed) else reply


async def ask_each(asked: Sequence[Any], ask: Callable[[Any, int], Coroutine[Any, Any, Any]]) -> list[Any]:
    """The replies of all that are asked, one after the other; an error of ours is a reply, too."""
    replies: list[Any] = []
    for place, one in enumerate(asked):
        try:
            replies.append(await ask(one, place))
        except TurnwireError as error:
            replies.append(error)
    return replies


class Comparison(RuleBasedStateMachine):
    """A session in Redis and in memory; the rules are in SessionMachine."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.stores: tuple[TurnStore, TurnStore] = world.store, MemoryStore(world.memory, world.settings)
        self.session = world.next_session()
        self.handles: dict[tuple[int, str], Handle] = {}
        self.submitted: list[tuple[Submitted, Submitted]] = []
        self.texts = 0
        self.erased = False
        self.acted = True
        self.seen = self.look()

    # -- doing the same to both

    def look(self) -> StoredSession:
        return observe(self.world.look, self.session, max([3, *self.turns]) + 2)

    def asked(self, ask: Ask) -> tuple[Any, Any]:
        """The replies of both stores, or their refusals."""
        replies = self.world.loop.run_until_complete(ask_each(self.stores, ask))
        return replies[REDIS], replies[MEMORY]

    def both(self, ask: Ask, *, again: bool = False) -> tuple[Any, Any]:
        """Ask both stores (twice, if a reply was lost); they must agree. Returns their replies."""
        replies = self.asked(ask)
        assert plain(replies[MEMORY]) == plain(replies[REDIS])
        if refused(replies[REDIS]):
            assert self.look() == self.seen, "what was refused changed nothing"
        elif again:
            repeated = self.asked(ask)
            assert plain(repeated[MEMORY]) == plain(repeated[REDIS])
            assert plain(without_cut(repeated[REDIS])) == plain(without_cut(replies[REDIS])), "repeating it is the same"
        return replies

    # -- what there is; once compared, the two stores have the same

    @property
    def here(self) -> MemorySession:
        return self.world.memory.session(self.session) or MemorySession()

    @property
    def turns(self) -> dict[int, MemoryTurn]:
        return self.here.turns

    @property
    def leased(self) -> list[int]:
        return [index for index, turn in self.turns.items() if turn.lease]

    @property
    def suspended(self) -> list[int]:
        return [index for index, turn in self.turns.items() if "awaiting" in turn.fields]

    @property
    def pending(self) -> list[int]:
        return [index for index, turn in self.turns.items() if turn.fields.get("persist") == "pending"]

    def index(self, pick: int) -> int:
        """Return the index of a turn that is there, or sometimes of one that is not."""
        next_index = int(self.here.fields.get("next_index", "0"))
        return [*self.turns, next_index][pick % (len(self.turns) + pick // 7)]

    def handle(self, pick: int) -> Handle:
        """Mostly one that may write, sometimes any."""
        handles = list(self.handles.values())
        current = [handle for handle in handles if self.is_current(handle)]
        chosen = current if current and pick < 6 else handles
        return chosen[pick % len(chosen)]

    def is_current(self, handle: Handle) -> bool:
        turn, claimed = self.turns.get(handle.index), handle.claimed[MEMORY]
        if turn is None or (turn.status, turn.attempt) != ("running", claimed.attempt):
            return False
        return f"{turn.fields['worker']}#{turn.attempt}" == claimed.token

    def new_text(self) -> str:
        self.texts += 1
        return f"text {self.texts}"

    # -- after every rule

    @invariant()
    def both_stores_hold_the_same(self) -> None:
        if not self.acted:
            return
        before, self.seen, self.acted = self.seen, self.look(), False
        now = self.seen
        here = self.here
        numbering = self.world.memory.numbering(self.session)
        assert session_in_memory(here, self.world.memory.now_ms, numbering) == session_in_redis(now)
        if here.ends_ms is not None:
            last = max([turn.ends_ms or math.inf for turn in here.turns.values()], default=0)
            assert last <= here.ends_ms, "a session outlives its turns"
        self.world.memory.clock.advance(0.001)
        check_lifetimes(now)
        check_ledger(now)
        check_suspended(now)
        for turn in now.turns.values():
            check_log(turn)
        for index, turn in now.turns.items():
            if index in before.turns:
                check_change(before.turns[index], turn, erased=self.erased)
        self.erased = False

    def compare_now(self) -> None:
        """The same within a rule that does more than one thing."""
        self.acted = True
        self.both_stores_hold_the_same()

    def teardown(self) -> None:
        """A session that is erased leaves nothing at all."""
        self.asked(lambda store, _: store.erase(self.session))
        assert self.world.redis.keys(f"*{{{self.session.scope}}}*") == []
        assert self.world.memory.session(self.session) is None


def refused(reply: Any) -> bool:
    """Return whether the reply is an error, or a list of errors only."""
    errors = reply if isinstance(reply, list) else [reply]
    return bool(errors) and all(isinstance(error, TurnwireError) for error in errors)


def check_change(before: Stored, now: Stored, *, erased: bool) -> None:
    """Check that one rule has changed a turn only in ways that are allowed."""
    was, became = before.text("status"), now.text("status")
    if erased:
        return
    if was == "failed" != became and before.text("error_code") == "signal_timeout":
        return  # it forgets that the signal did not come
    assert was == became or (was, became) in WAYS, "only along the table"
    for position, record in before.steps.items():
        if record.startswith(b'{"status":"completed"'):
            assert now.steps[position] == record, "a completed step stays"
    for attempt, row in before.ledger.items():
        assert now.ledger[attempt] == row, "a row is written once"
    for key, signal in before.signals.items():
        assert now.signals[key] == signal, "the first signal of a key stays"
