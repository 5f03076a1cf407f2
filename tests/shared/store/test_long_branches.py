"""A long row of failed turns: Redis looks at so many of them only, because it serves nobody else meanwhile."""

import re

import pytest

from tests.support.turns import SESSION, WORKER, claim, request
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Waits
from turnwire.shared.request import NO_PARENT
from turnwire.shared.store.scripts import source
from turnwire.testing.clock import ManualClock
from turnwire.testing.memory import Memory
from turnwire.testing.memory_branches import MOST_FAILED
from turnwire.testing.memory_store import MemoryStore


@pytest.fixture(params=["redis", "memory"])
def either_store(request, store):
    return store if request.param == "redis" else MemoryStore(Memory(ManualClock()), store.settings)


async def cancelled(store, first, last, parent_of):
    for index in range(first, last + 1):
        await store.submit(SESSION.turn(index), request(parent=parent_of(index)))
        await store.cancel(SESSION.turn(index))


async def claimed_after(store, last, parent):
    key = SESSION.turn(last + 1)
    await store.submit(key, request(parent=parent))
    return await store.claim(key, WORKER, company=1)


def test_the_scripts_and_the_memory_store_have_the_same_limit():
    assert re.findall(r"^local MOST_FAILED = (\d+)", source("claim"), re.MULTILINE) == [str(MOST_FAILED)]


@pytest.mark.parametrize("failed", [MOST_FAILED, MOST_FAILED + 1])
async def test_a_turn_behind_too_many_failed_ones_waits_for_all_earlier_turns(either_store, failed):
    await either_store.submit(SESSION.turn(0), request())
    await claim(either_store, SESSION.turn(0))  # of another branch: it stays open
    await cancelled(either_store, 1, failed, lambda index: index - 1 if index > 1 else NO_PARENT)
    found = await claimed_after(either_store, failed, failed)
    assert isinstance(found, Waits) == (failed > MOST_FAILED)
    if failed > MOST_FAILED:
        assert found.index == 0


@pytest.mark.parametrize(("failed", "parent"), [(MOST_FAILED - 1, 0), (MOST_FAILED, 1)])
async def test_the_search_for_an_answer_ends_and_the_history_stays(either_store, failed, parent):
    await either_store.submit(SESSION.turn(0), request())
    first = await claim(either_store, SESSION.turn(0))
    await either_store.settle(first, TurnState.COMPLETED, first.next_seq, [], {"final_text": "a"})
    await cancelled(either_store, 1, failed, lambda _: None)
    claimed = await claimed_after(either_store, failed, None)
    assert claimed.record.parent == parent
    history = await either_store.history(claimed.key, 50, parent)
    assert history[0].turn_index == 0
