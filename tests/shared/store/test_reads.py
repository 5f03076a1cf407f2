"""Reads are plain commands: records, history, the log after a cursor."""

from tests.support.turns import KEY, SESSION, append, delta, request, submit_and_claim
from turnwire.shared.events import RUN_COMPLETED, Cursor, encode_event
from turnwire.shared.lifecycle import TurnState

COMPLETED = encode_event(RUN_COMPLETED, {})


async def completed(store, index: int, text: str) -> None:
    claimed = await submit_and_claim(store, SESSION.turn(index), message=f"q{index}")
    await store.settle(claimed, TurnState.COMPLETED, 1, [COMPLETED], {"final_text": text})


async def test_a_turn_that_is_not_there_has_no_record_and_no_log(store):
    assert await store.record(KEY) is None
    assert await store.read(KEY, None) == []


async def test_a_record_names_its_turn(store):
    await store.submit(KEY, request())
    record = await store.record(KEY)
    assert (record.run_id, record.session_id, record.turn_index) == ("chat:demo:0", "demo", 0)
    assert record.tenant_id == "default"


async def test_the_turns_of_a_session_are_listed_in_order_and_in_pages(store):
    for index in (5, 0, 3):
        await store.submit(SESSION.turn(index), request())
    assert [record.turn_index for record in await store.records(SESSION)] == [0, 3, 5]
    assert [record.turn_index for record in await store.records(SESSION, limit=2)] == [0, 3]
    assert [record.turn_index for record in await store.records(SESSION, first=1)] == [3, 5]


async def test_expired_turns_are_left_out_of_the_list(store, redis):
    await completed(store, 0, "a")
    await store.submit(SESSION.turn(1), request())
    await redis.delete(KEY.record)
    assert [record.turn_index for record in await store.records(SESSION)] == [1]


async def test_history_is_the_last_turns_before_this_one_oldest_first(store):
    for index in range(4):
        await completed(store, index, f"a{index}")
    assert [record.turn_index for record in await store.history(SESSION.turn(3), 2)] == [1, 2]
    assert [record.final_text for record in await store.history(SESSION.turn(2), 50)] == ["a0", "a1"]


async def test_the_first_turn_has_no_history_nor_one_that_wants_none(store):
    await completed(store, 0, "a")
    assert await store.history(KEY, 50) == []
    assert await store.history(SESSION.turn(1), 0) == []


async def test_c89_reading_goes_on_strictly_after_a_cursor(store):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, *(delta(text) for text in "abc"))
    entries = await store.read(KEY, Cursor(1, 1))
    assert [entry.id for entry in entries] == [b"1-2", b"1-3"]
    assert [entry.id for entry in await store.read(KEY, None, limit=2)] == [b"1-0", b"1-1"]
    assert await store.read(KEY, Cursor(1, 3)) == []


async def test_a_cursor_of_a_discarded_event_goes_on_with_what_came_instead(store, redis):
    claimed = await submit_and_claim(store)
    await append(store, claimed, 1, delta("discarded"), delta("discarded"))
    await redis.delete(KEY.lease)
    await submit_and_claim(store)
    assert [entry.id for entry in await store.read(KEY, Cursor(1, 2))] == [b"2-1"]
