"""With a codec, Redis holds no content in clear, and everybody who reads through the store sees what was written."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.codec_keys import write_codec_keys
from tests.support.read_again import read_again
from tests.support.turns import KEY, SESSION, append, claim, delta, lose_lease, request, snapshot, step
from turnwire.shared.aes_codec import AesGcmCodec
from turnwire.shared.errors import ContentUnreadable, RecordUnreadable, StoreLost
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.model import Ended, Signal
from turnwire.shared.store.sealed import SealedStore
from turnwire.shared.store.turns import TurnStore

PLANTED = "planted-text"
METADATA = {"note": PLANTED}
Destroyer = Callable[[], Awaitable[None]]


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def keys_path(tmp_path: Path) -> Path:
    return write_codec_keys(tmp_path / "codec.toml", default=["k1"])


@pytest.fixture
def store(redis: Any, settings: Any, keys_path: Path, now: list[float]) -> TurnStore:
    return SealedStore(redis, settings, AesGcmCodec(str(keys_path), clock=lambda: now[0]))


@pytest.fixture
def destroy_key(store: Any, keys_path: Path, now: list[float]) -> Destroyer:
    async def destroy() -> None:
        write_codec_keys(keys_path, other=["k1"])
        now[0] += 2
        await read_again(store.sealing._codec._file)

    return destroy


async def assert_sealed(redis: Any) -> None:
    text = repr(await snapshot(redis)) + repr([await redis.xrange(name) for name in await redis.keys("events:*")])
    assert PLANTED not in text
    assert "~tw1~" in text


async def test_parts_and_options_are_stored_sealed_and_read_open(store: TurnStore, redis: Any):
    parts: list[dict[str, Any]] = [{"type": "text", "text": PLANTED}, {"type": "text", "text": "b"}]
    asked = request(parts, options={"stop": PLANTED})  # type: ignore[arg-type]
    await store.submit(KEY, asked)
    record = (await claim(store)).record
    assert (record.message, record.options) == (parts, {"stop": PLANTED})
    await assert_sealed(redis)
    assert (await store.submit(KEY, asked)).verdict == "running"


async def test_the_partial_text_of_a_stopped_turn_is_stored_sealed_and_read_open(store: TurnStore, redis: Any):
    await store.submit(KEY, request("hello"))
    claimed = await claim(store)
    fields: dict[str, str | bytes | int] = {"error_code": "cancelled", "error_message": "", "retryable": 0}
    fields |= {"partial_text": PLANTED, "in_history": 1}
    await store.settle(claimed, TurnState.CANCELLED, 1, [delta(PLANTED)], fields)
    assert (await store.existing(KEY)).partial_text == PLANTED
    await assert_sealed(redis)


async def test_a_turn_is_stored_sealed_and_read_open(store: TurnStore, redis: Any):
    await store.submit(KEY, request(PLANTED, metadata=METADATA))
    claimed = await claim(store)
    assert (claimed.record.message, claimed.record.metadata) == (PLANTED, METADATA)
    await append(store, claimed, 1, delta(PLANTED), delta("b"))
    failed = msgspec.structs.replace(step(1, "1-2"), status="failed", error={"message": PLANTED})
    await store.checkpoint(claimed, step(0, "1-2", result={"found": PLANTED}), b'{"history":"planted-text"}')
    await store.checkpoint(claimed, failed)
    await assert_sealed(redis)

    await lose_lease(store)
    again = await claim(store, worker="host/2/bbbbbb")
    assert again.record.message == PLANTED
    assert msgspec.json.decode(again.steps[0].result) == {"found": PLANTED}
    assert again.steps[1].error == {"message": PLANTED}
    assert again.history == b'{"history":"planted-text"}'
    assert [entry.event for entry in await store.read(KEY, None)][1:3] == [delta(PLANTED), delta("b")]
    assert (await store.steps(KEY))[0].result == again.steps[0].result

    fields: dict[str, Any] = {"final_text": PLANTED, "error_code": "x", "error_message": PLANTED, "retryable": 0}
    last = step(2, "1-2", result={"found": PLANTED})
    await store.settle(again, TurnState.FAILED, again.next_seq, [delta(PLANTED)], fields, step=last)
    assert (await store.steps(KEY))[2] == last
    await assert_sealed(redis)
    record = await store.existing(KEY)
    assert record.error is not None
    assert (record.message, record.metadata, record.final_text) == (PLANTED, METADATA, PLANTED)
    assert record.error.message == PLANTED
    assert [found.message for found in await store.records(SESSION)] == [PLANTED]


async def test_events_that_a_takeover_cuts_off_are_open(store: TurnStore):
    await store.submit(KEY, request())
    await append(store, await claim(store), 1, delta(PLANTED))
    await lose_lease(store)
    assert (await claim(store, worker="host/2/bbbbbb")).cut == [delta(PLANTED)]


async def test_signals_are_sealed(store: TurnStore, redis: Any):
    await store.submit(KEY, request())
    payload = msgspec.json.encode({"text": PLANTED})
    first = await store.signal(KEY, "go", payload)
    again = await store.signal(KEY, "go", b"1")
    assert msgspec.json.decode(first.stored)["payload"] == msgspec.json.decode(again.stored)["payload"]
    await assert_sealed(redis)
    got = await store.suspend(await claim(store), "go", None, 1, b'{"type":"session.run.suspended","data":{}}')
    assert isinstance(got, Signal)
    assert bytes(got.payload) == payload


async def test_an_answer_that_the_outbox_persists_is_sealed(store: TurnStore, redis: Any):
    await store.submit(KEY, request())
    pending = {"persist": "pending", "untransformed": PLANTED}
    await store.settle(await claim(store), TurnState.COMPLETED, 1, [], pending)
    assert await store.untransformed(KEY) == PLANTED
    await store.persisted(KEY, PLANTED)
    await assert_sealed(redis)
    assert (await store.existing(KEY)).final_text == PLANTED


async def test_no_reason_of_a_cancel_is_stored(store: TurnStore, redis: Any):
    await store.submit(KEY, request())
    await store.cancel(KEY, PLANTED)
    await assert_sealed(redis)
    ended = await store.claim(KEY, "host/2/bbbbbb")
    assert isinstance(ended, Ended)
    assert ended.record is not None


async def test_content_that_was_stored_before_there_was_a_codec_is_read(store: TurnStore, redis: Any, settings: Any):
    plain = TurnStore(redis, settings)
    await plain.submit(KEY, request(PLANTED, metadata=METADATA))
    await append(plain, await claim(plain), 1, delta(PLANTED))
    record = await store.existing(KEY)
    assert (record.message, record.metadata) == (PLANTED, METADATA)
    assert (await store.read(KEY, None))[1].event == delta(PLANTED)


async def test_a_destroyed_key_makes_content_unreadable_and_nothing_else(
    store: TurnStore, redis: Any, destroy_key: Callable[[], Awaitable[None]]
):
    await store.submit(KEY, request(PLANTED))
    claimed = await claim(store)
    await append(store, claimed, 1, delta(PLANTED))
    await destroy_key()
    with pytest.raises(ContentUnreadable):
        await store.existing(KEY)
    with pytest.raises(ContentUnreadable):
        await store.read(KEY, None)
    assert await store.records(SESSION) == []
    with pytest.raises(StoreLost):  # its worker gives the turn back
        await append(store, claimed, 2, delta("b"))
    with pytest.raises(StoreLost):
        await store.checkpoint(claimed, step(0, "1-1"))
    with pytest.raises(StoreLost):
        await store.settle(claimed, TurnState.COMPLETED, 2, [delta("b")], {"final_text": "b"})
    await store.handover(claimed)
    with pytest.raises(RecordUnreadable):  # no worker takes it, and no attempt is spent
        await store.claim(KEY, "host/2/bbbbbb")
    with pytest.raises(ContentUnreadable):
        await store.submit(SESSION.turn(1), request("new"))
    await store.cancel(KEY)
    assert await store.erase(SESSION)
    assert await redis.keys("*") == []


async def test_a_batch_of_appends_loses_only_those_without_a_key(
    store: TurnStore, destroy_key: Callable[[], Awaitable[None]]
):
    await store.submit(KEY, request())
    claimed = await claim(store)
    await destroy_key()
    [lost] = await store.append_many([(claimed, 1, [delta("a")])])
    assert isinstance(lost, StoreLost)
    assert await store.append_many([]) == []
    await store.erase(SESSION)
