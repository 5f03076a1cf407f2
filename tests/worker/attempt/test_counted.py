"""What the metrics say of attempts, of their waits, and of the models that they ask."""

import asyncio

import msgspec
import pytest

from tests.support.product import HOLD, Scripted, text
from tests.support.scraped import counted
from tests.support.turns import KEY, SESSION, claim, delta, request, submit_and_claim, take_over
from turnwire.shared.events import RUN_RESUMED, encode_event
from turnwire.shared.lifecycle import TurnState
from turnwire.shared.metrics import Histogram, histogram
from turnwire.shared.model import Claimed, ModelCall
from turnwire.shared.settings import Settings
from turnwire.worker.attempt.appender import Appender
from turnwire.worker.attempt.counted import count_claim
from turnwire.worker.turn.meter import Meter
from turnwire.worker.turn.prices import Prices

SECOND = SESSION.turn(1)


async def now_ms(redis) -> int:
    seconds, micros = await redis.time()
    return seconds * 1000 + micros // 1000


def waited_ms(claimed: Claimed) -> int:
    assert claimed.waited_ms is not None
    return claimed.waited_ms


async def test_a_turn_waits_since_it_was_asked(store, redis):
    await store.submit(KEY, request())
    await redis.hset(KEY.record, "updated_at", await now_ms(redis) - 5000)
    assert 5000 <= waited_ms(await claim(store)) < 8000


async def test_a_turn_waits_since_the_turn_before_it_has_ended(store, redis):
    first = await submit_and_claim(store)
    await store.submit(SECOND, request("second"))
    await redis.hset(SECOND.record, "updated_at", await now_ms(redis) - 60_000)
    await store.settle(first, TurnState.COMPLETED, 1, [delta("end")], {})
    assert 0 <= waited_ms(await claim(store, SECOND)) < 30_000


async def test_a_takeover_is_measured_from_the_last_renewal(store, redis, settings):
    await submit_and_claim(store)
    await redis.hset(KEY.record, "lease_end", await now_ms(redis) - 1000)
    waited = waited_ms(await take_over(store))
    assert settings.lease_ms + 1000 <= waited < settings.lease_ms + 4000


async def test_a_claim_that_is_repeated_after_a_lost_reply_is_not_measured(store):
    await submit_and_claim(store)
    assert (await claim(store)).waited_ms is None


@pytest.mark.parametrize(
    ("said", "reason", "name"),
    [
        (None, "first", "turnwire_dispatch_seconds"),
        ("lease_expired", "lease_expired", "turnwire_takeover_seconds"),
        ("signal", "signal", "turnwire_signal_to_resume_seconds"),
        ("handover", "handover", None),
        ("of tomorrow", "other", None),
    ],
)
async def test_each_reason_has_its_own_time(store, said, reason, name):
    claimed = await submit_and_claim(store)
    before = counted("worker")
    if said is not None:
        resumed = encode_event(RUN_RESUMED, {"attempt": 2, "after": "1-0", "reason": said})
        claimed = msgspec.structs.replace(claimed, attempt=2, first_event=resumed)
    count_claim(msgspec.structs.replace(claimed, waited_ms=1500))
    after = counted("worker", before)
    assert after("turnwire_attempts_total", reason=reason) == 1
    for other in ("dispatch", "takeover", "signal_to_resume"):
        measured = f"turnwire_{other}_seconds"
        assert after(f"{measured}_sum") == pytest.approx(1.5 if measured == name else 0)


async def test_attempts_are_counted_by_their_end(store, redis, runner_of):
    before = counted("worker")
    await store.submit(KEY, request())
    await runner_of(Scripted(text("hello"))).run(KEY.run_id)
    await store.submit(SECOND, request())
    await runner_of(Scripted(ValueError("no"))).run(SECOND.run_id)
    after = counted("worker", before)
    assert after("turnwire_attempts_total", reason="first") == 2
    assert after("turnwire_attempt_ends_total", outcome="completed") == 1
    assert after("turnwire_attempt_ends_total", outcome="failed") == 1
    assert after("turnwire_attempt_seconds_count") == 2
    assert after("turnwire_first_token_seconds_count") == 1
    assert after("turnwire_dispatch_seconds_count") == 2
    assert after("turnwire_redis_round_trip_seconds_count") > 4
    assert after("turnwire_redis_commands_total") >= after("turnwire_redis_round_trip_seconds_count")
    log_events = sum([len(await store.read(key, None)) for key in (KEY, SECOND)])
    by_scripts = 4  # the first event of each, and the last ones
    assert after("turnwire_events_appended_total") >= log_events - by_scripts - 1


async def test_a_lost_lease_and_the_writes_that_it_fences(store, runner_of):
    product = Scripted(text("a"), HOLD, text("b"))
    before = counted("worker")
    await store.submit(KEY, request())
    running = asyncio.create_task(runner_of(product).run(KEY.run_id))
    await product.holding.wait()
    await take_over(store)
    product.gate.set()
    await running
    after = counted("worker", before)
    assert after("turnwire_attempt_ends_total", outcome="lease_lost") == 1
    assert after("turnwire_fenced_writes_total") >= 1


async def test_an_append_is_measured_from_its_oldest_event(store, monkeypatch):
    seen: list[float] = []
    appends = histogram("turnwire_append_seconds")
    monkeypatch.setattr(Histogram, "observe", lambda made, seconds: seen.append(seconds) if made is appends else None)
    claimed = await submit_and_claim(store)
    appender = Appender(store)
    log = appender.open(claimed, lambda _: None)
    writing = asyncio.create_task(appender.run())
    log.put(delta("a"))
    log.waits_since_s -= 7.0  # as if Redis had been away
    log.put(delta("b"))
    await log.flush()
    log.put(delta("c"))
    await log.flush()
    writing.cancel()
    assert len(seen) == 2
    assert 7.0 <= seen[0] < 10.0
    assert 0.0 < seen[1] < 3.0


def test_tokens_and_cost_by_model_only_of_those_that_are_listed():
    settings = Settings(llm_model="small", llm_models="large")
    meter = Meter(Prices.from_settings(settings))
    before = counted("worker")
    meter.add(
        ModelCall("small", 100, 20, cached_tokens=60, reasoning_tokens=5, cost_nanos=2_500_000_000, currency="EUR")
    )
    meter.add(ModelCall("small", 1, None))
    meter.add(ModelCall("whatever a client or a server says", 7, 8))
    after = counted("worker", before)
    found = {
        kind: after("turnwire_tokens_total", model="small", kind=kind)
        for kind in ("input", "output", "cached", "reasoning")
    }
    assert found == {"input": 101, "output": 20, "cached": 60, "reasoning": 5}
    assert after("turnwire_tokens_total", model="other", kind="output") == 8
    assert after("turnwire_model_calls_total", model="small") == 2
    assert after("turnwire_cost_total", model="small", currency="EUR") == 2.5
    assert not [labels for labels in after.labels("turnwire_tokens_total") if "whatever" in labels["model"]]
