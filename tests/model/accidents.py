"""What nobody does on purpose: leases lapse, workers are taken for dead, time passes."""

from hypothesis import strategies as st

from tests.model.actions import Actions
from tests.model.comparison import Comparison
from tests.model.drawn import DIED_WITH, PICK, WORKERS
from turnwire.shared.store.turns import TurnStore

action = Actions()


class Accidents(Comparison):
    """The accidents of a session."""

    def drop_lease(self, index: int) -> None:
        self.world.redis.delete(self.session.turn(index).lease)
        if index in self.turns:
            self.turns[index].lease = None

    @action(needs="leased", pick=PICK)
    def lease_lapses(self, pick):
        self.drop_lease(self.leased[pick % len(self.leased)])

    @action(needs="turns", worker=WORKERS, died_with=DIED_WITH, persists=st.booleans())
    def worker_is_declared_dead(self, worker, died_with, persists):
        turns = [self.session.turn(index) for index in self.turns]
        self.both(lambda store, _: store.free(turns, worker, died_with, elsewhere=died_with // 9, persists=persists))

    @action(needs="leased", worker=WORKERS)
    def worker_takes_other_jobs(self, worker):
        turns = [self.session.turn(index) for index in self.turns]
        self.both(lambda store, _: store.mingle(turns, worker))

    @action(2, needs="suspended", pick=PICK, late=st.booleans())
    def deadline(self, pick, late):
        self.pass_deadline(self.suspended[pick % len(self.suspended)], late=late)

    def pass_deadline(self, index: int, *, late: bool) -> None:
        turn = self.turns[index]
        if late and "deadline" in turn.fields:
            self.world.redis.hset(self.session.turn(index).record, "deadline", "1")
            turn.fields["deadline"] = "1"

        async def left(store: TurnStore, _: int) -> int | None:
            left_ms = await store.expire(self.session.turn(index))
            return left_ms and min(left_ms, 1)

        self.both(left)
