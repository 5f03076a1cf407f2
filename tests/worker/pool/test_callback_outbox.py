"""A client's server hears of the end of a turn, and of its suspension, once at least, whoever has ended it."""

from typing import Any

import msgspec
import pytest

from tests.support.scraped import grows
from tests.support.turns import KEY, SESSION, WORKER, claim, request
from turnwire import ChatTurnHooks, TurnFailure
from turnwire.shared import keys
from turnwire.shared.callbacks import CallbackError
from turnwire.shared.store.callbacks import Callbacks
from turnwire.shared.tracing import TraceContext
from turnwire.worker.attempt.outcome import Again, Done
from turnwire.worker.pool.callback_outbox import CallbackOutbox
from turnwire.worker.pool.rebuild import Rebuild
from turnwire.worker.pool.sweep import Sweep

URL = "https://hooks.example.com/turns"
JOB = keys.CALLBACK_PREFIX + KEY.run_id


class Recording:
    """Stands for the sender: it keeps what it is to send, and fails the first so many times."""

    def __init__(self, fails: int = 0) -> None:
        self.fails = fails
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    async def send(self, url: str, callback_id: str, body: bytes, trace: TraceContext | None = None) -> int:
        self.sent.append((url, callback_id, msgspec.json.decode(body)))
        if len(self.sent) <= self.fails:
            raise CallbackError("status 500")
        return 200


class Plays(ChatTurnHooks):
    """Waits for a signal if it is asked to, and fails if it is asked to."""

    async def produce(self, turn):
        if turn.message == "wait":
            await turn.signal("approval")
        if turn.message == "fail":
            raise TurnFailure("the words of the product", code="no_luck", retryable=True)
        yield {"type": "result", "data": {"finalText": "the secret answer"}}


@pytest.fixture
def outbox_of(store, settings):
    return lambda sender: CallbackOutbox(store, Callbacks(store.redis, settings), sender)


@pytest.fixture
async def queued(redis):
    """Whether the job of the callback is there."""

    async def is_queued() -> bool:
        listed = await redis.zscore(keys.CALLBACKS, JOB) is not None
        assert listed == bool(await redis.exists(keys.job(JOB)))
        return listed

    yield is_queued
    for name in (keys.CALLBACKS, keys.OPEN_TURNS, keys.QUEUE, keys.HINTS, keys.job(JOB), keys.job(KEY.run_id)):
        await redis.delete(name)
    for pattern in ("turnwire:waiting:*", "turnwire:tenants:*", "turnwire:debts:*"):
        for name in await redis.keys(pattern):
            await redis.delete(name)


@pytest.mark.parametrize(
    ("message", "told", "status", "error"),
    [
        ("hello", "turn.completed", "completed", None),
        ("fail", "turn.failed", "failed", {"code": "no_luck", "retryable": True}),
        ("wait", "turn.suspended", "suspended", None),
    ],
)
async def test_each_end_and_each_suspension_is_told(store, runner_of, outbox_of, queued, message, told, status, error):
    await store.submit(KEY, request(message, callback=URL))
    await runner_of(Plays()).run(KEY.run_id)
    assert await queued()
    sender = Recording()
    assert await outbox_of(sender).run(JOB) == Done()
    ((url, callback_id, body),) = sender.sent
    record = await store.record(KEY)
    assert (url, callback_id) == (URL, f"chat:demo:0/{record.created_at}/1/{status}")
    assert (body["type"], body["data"]["status"], body["data"]["error"]) == (told, status, error)
    assert body["data"]["awaiting"] == ("approval" if message == "wait" else None)
    assert "secret" not in str(body)
    assert "words" not in str(body)
    assert await outbox_of(sender).run(JOB) == Done(), "the job may run again"
    assert len(sender.sent) == 1


async def test_a_turn_without_a_callback_tells_nobody(store, runner_of, redis, queued):
    await store.submit(KEY, request())
    await runner_of(Plays()).run(KEY.run_id)
    assert not await queued()


async def test_it_is_tried_again_with_growing_pauses_until_the_server_has_heard_it(
    store, redis, runner_of, outbox_of, queued
):
    await store.submit(KEY, request(callback=URL))
    await runner_of(Plays()).run(KEY.run_id)
    sender = Recording(fails=2)
    for tries, pause_ms in ((1, 2000), (2, 4000)):
        with grows("worker", "turnwire_callback_failures_total"):
            assert await outbox_of(sender).run(JOB) == Again(pause_ms)
        early = await outbox_of(sender).run(JOB)  # as after a crash in the middle of a try
        assert isinstance(early, Again)
        assert 0 < early.delay_ms <= pause_ms
        assert await Callbacks(redis, store.settings).tries([KEY]) == [tries]
        await redis.hset(KEY.record, "callback_at", 0)
    assert await outbox_of(sender).run(JOB) == Done()
    assert len({callback_id for _, callback_id, _ in sender.sent}) == 1, "its server knows that it is the same"
    assert await Callbacks(redis, store.settings).tries([KEY]) == [0]


async def test_a_turn_that_is_asked_again_is_told_anew_and_its_old_end_no_more(store, runner_of, outbox_of, queued):
    await store.submit(KEY, request("fail", callback=URL))
    await runner_of(Plays()).run(KEY.run_id)
    assert await outbox_of(Recording(fails=1)).run(JOB) == Again(2000)
    await store.submit(KEY, request("fail"))
    sender = Recording()
    assert await outbox_of(sender).run(JOB) == Done(), "it has not ended again yet"
    assert sender.sent == []
    await runner_of(Plays()).run(KEY.run_id)
    assert await outbox_of(sender).run(JOB) == Done(), "the pause of the old end does not count"
    assert [callback_id.rpartition("/")[0][-1] for _, callback_id, _ in sender.sent] == ["2"]


async def test_a_turn_that_a_script_has_ended_is_told_too(store, settings, redis, runner_of, outbox_of, queued):
    settings = msgspec.structs.replace(settings, callback_hosts="hooks.example.com")
    store.settings = settings
    await store.submit(KEY, request(callback=URL))
    await store.cancel(KEY, "")
    await runner_of(Plays()).run(KEY.run_id)
    assert await queued()
    sender = Recording()
    await outbox_of(sender).run(JOB)
    ((_, _, body),) = sender.sent
    assert (body["type"], body["data"]["status"]) == ("turn.failed", "cancelled")
    assert body["data"]["error"]["code"] == "cancelled"


async def test_a_worker_that_dies_before_it_has_enqueued_the_callback(store, settings, redis, runner_of, queued):
    store.settings = msgspec.structs.replace(settings, callback_hosts="hooks.example.com")
    await store.submit(KEY, request("wait", callback=URL))
    claimed = await claim(store, KEY, WORKER)
    await store.suspend(claimed, "approval", None, claimed.next_seq, b"{}")
    await runner_of(Plays()).run(KEY.run_id)  # whoever takes the job of the turn
    assert await queued()


async def test_the_sweep_and_a_rebuilt_queue_bring_a_lost_job_back(store, queue, redis, runner_of, queued):
    await store.submit(KEY, request(callback=URL))
    await runner_of(Plays()).run(KEY.run_id)
    await redis.delete(keys.job(JOB), keys.QUEUE, keys.OPEN_TURNS, keys.CALLBACKS)
    await Rebuild(store, queue).now()
    await redis.zadd(keys.OPEN_TURNS, {JOB: 0}, xx=True)
    with grows("worker", "turnwire_sweep_finds_total", kind="callback"):
        await Sweep(store, queue, WORKER).once()
    assert await queued()


async def test_the_sweep_leaves_the_callback_of_a_turn_that_another_version_wrote(store, queue, redis, queued, caplog):
    other = SESSION.turn(1)
    for key in (KEY, other):
        await store.submit(key, request(callback=URL))
    await redis.hset(KEY.record, "status", "paused")
    await redis.zadd(keys.OPEN_TURNS, {JOB: 0, other.run_id: 1})
    assert await Sweep(store, queue, WORKER).once() == 2
    assert "the sweep leaves it" in caplog.text
    assert not await queued()
    assert await redis.zscore(keys.OPEN_TURNS, JOB) > 1, "it is looked at again"
    assert await redis.zscore(keys.OPEN_TURNS, other.run_id) > 1, "the sweep has gone on"


async def test_the_callback_of_an_erased_turn_is_forgotten(store, queue, redis, runner_of, outbox_of, queued):
    await store.submit(KEY, request(callback=URL))
    await runner_of(Plays()).run(KEY.run_id)
    await store.erase(SESSION)
    sender = Recording()
    assert await outbox_of(sender).run(JOB) == Done()
    await redis.delete(keys.job(JOB))
    await redis.zadd(keys.OPEN_TURNS, {JOB: 0})
    await Sweep(store, queue, WORKER).once()
    assert sender.sent == []
    assert await redis.zscore(keys.OPEN_TURNS, JOB) is None


async def test_a_worker_without_the_settings_leaves_it_to_others(store, runner_of, outbox_of, queued, caplog):
    await store.submit(KEY, request(callback=URL))
    await runner_of(Plays()).run(KEY.run_id)
    assert await outbox_of(None).run(JOB) == Again(60_000)
    assert "TURNWIRE_CALLBACK_HOSTS" in caplog.text
