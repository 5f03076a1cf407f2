"""run_turn: what a product's test can see, and what it can make happen."""

import asyncio
import socket

import pytest

from tests.testing.products import Fails, Says, Shop, code_of, say
from turnwire import ChatTurnHooks, TurnFailure
from turnwire.shared.errors import TurnEnded
from turnwire.shared.model import TurnError
from turnwire.shared.settings import Settings
from turnwire.testing import TIMES_OUT, ManualClock, WrongUse, run_turn, run_turn_sync


@pytest.fixture(autouse=True)
def no_pause_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnwire.worker.attempt.finish.RETRY_S", 0.0)


async def test_everything_of_a_turn_can_be_seen():
    shop = Shop()
    run = await run_turn(shop, "socks", user="ada", signals={"approval": "yes"})
    assert (run.status, run.final_text, run.persisted, run.persist) == ("completed", *["found yes it is"] * 2, "done")
    assert [event.type for event in run.events] == [
        "session.run.started",
        "message.part.updated",
        "session.run.suspended",
        "session.run.resumed",
        *["message.part.updated"] * 3,
        "result",
        "session.run.completed",
    ]
    assert [event.seq for event in run.events] == list(range(9))
    assert [(step.intent, step.kind, step.status) for step in run.steps] == [
        ("search", "tool", "completed"),
        ("signal:approval", "signal", "completed"),
        ("answer", "llm", "completed"),
        ("charge", "tool", "completed"),
        ("turn", "llm", "completed"),
        ("persist_assistant_message", "logic", "completed"),
    ]
    assert run.step("search").result == "found"
    assert run.usage is not None
    assert (run.usage.model_calls, run.usage.tokens_in, len(run.model_calls)) == (1, 7, 1)
    assert run.attempts == 2
    assert [row.outcome for row in run.rows] == ["suspended", "completed"]
    assert run.record.user == "ada"
    assert shop.did == {"search": 1, "charge": 1, "model": 1, "persist": 1}
    assert (run.error, run.awaiting, run.log_flaws) == (None, None, [])


async def test_a_step_that_is_not_there_is_named_with_those_that_are():
    run = await run_turn(Fails(), "hello")
    with pytest.raises(KeyError, match="no step 'search'; there are turn, persist_assistant_message"):
        run.step("search")


async def test_a_turn_that_waits_goes_on_with_its_signal():
    run = await run_turn(Shop(), "socks")
    assert (run.suspended, run.awaiting, run.status, run.usage) == (True, "approval", "suspended", None)
    run = await run.signal("approval", "yes")
    assert (run.status, run.final_text) == ("completed", "found yes it is")
    with pytest.raises(TurnEnded):
        await run.signal("other", "too late")


async def test_a_signal_can_time_out():
    run = await run_turn(Shop(), "socks", signals={"approval": TIMES_OUT})
    assert (run.status, code_of(run)) == ("failed", "signal_timeout")


async def test_time_that_passes_is_what_the_clock_says():
    clock = ManualClock()
    run = await run_turn(Shop(), "socks", clock=clock)
    assert (await run.wait(59)).suspended
    run = await run.wait(1)
    assert (run.status, code_of(run)) == ("failed", "signal_timeout")
    assert run.record.completed_at == clock.now_ms


async def test_a_turn_is_kept_for_its_retention():
    run = await run_turn(Fails(), "hello", settings=Settings(retention_s=100))
    assert (await run.wait(99)).final_text == "hello"
    with pytest.raises(WrongUse, match="is gone"):
        await run.wait(1)


async def test_a_turn_may_not_take_longer_than_its_limit_over_all_attempts():
    clock = ManualClock()

    async def slow(turn):
        yield say("hello")
        clock.advance(3600)
        await turn.step("work", work)
        if turn.attempt > 1:
            await asyncio.Event().wait()

    async def work():
        return None

    run = await run_turn(Says(slow), "hello", clock=clock, crash_after="checkpoint.work")
    assert (run.status, code_of(run)) == ("failed", "timeout")


async def test_a_turn_that_waits_for_days_has_its_time_left_when_the_signal_comes():
    async def patient(turn):
        yield say(str(await turn.signal("approval", timeout=10 * 86_400)))

    run = await run_turn(Says(patient), "hello")
    run = await (await run.wait(9 * 86_400)).signal("approval", "yes")
    assert (run.status, run.final_text) == ("completed", "yes")


async def test_earlier_messages_are_the_history():
    async def echo(turn):
        yield say(str([message["content"] for message in turn.history()]))

    chat = [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]
    run = await run_turn(Says(echo), "hello", history=[("a", "b"), *chat])
    assert run.final_text == "['a', 'b', 'c', 'd']"
    assert run.record.turn_index == 2
    after = await run.ask("again", user="ada")
    assert after.final_text == str(["a", "b", "c", "d", "hello", run.final_text])
    assert after.record.user == "ada"


async def test_the_client_s_fields_arrive():
    async def echo(turn):
        yield say(f"{turn.user_id} {turn.project} {turn.domain} {turn.model} {turn.metadata} {turn.session_id}")

    run = await run_turn(
        Says(echo), "hello", user="u", project="p", domain="d", model="m", metadata={"a": 1}, session="s", tenant="t"
    )
    assert run.final_text == "u p d m {'a': 1} s"
    assert run.record.run_id == "chat:t~s:0"


async def test_a_failure_has_the_product_s_words():
    async def fails(turn):
        yield say("he")
        raise TurnFailure("no more", code="sold_out", retryable=True)

    run = await run_turn(Says(fails), "hello")
    assert (run.status, run.final_text) == ("failed", None)
    assert run.error == TurnError("sold_out", "no more", retryable=True)
    assert [event.type for event in run.events][-2:] == ["error", "session.run.failed"]


async def test_an_answer_that_cannot_be_stored_at_first_is_stored_later():
    run = await run_turn(Fails(persist_fails=4), "hello")
    assert (run.status, run.persist, run.persisted) == ("completed", "done", "hello")
    assert [call.error for call in run.persist_calls] == ["RuntimeError: no database"] * 4 + [None]
    assert len({call.message_id for call in run.persist_calls}) == 1


async def test_an_answer_that_cannot_be_stored_at_all_is_pending():
    run = await run_turn(Fails(persist_fails=99), "hello")
    assert (run.status, run.persist, run.persisted, run.final_text) == ("completed", "pending", None, "hello")


async def test_a_crash_is_a_takeover():
    run = await run_turn(Shop(), "socks", signals={"approval": "yes"}, crash_before="checkpoint.charge")
    assert [row.outcome for row in run.rows] == ["suspended", "crashed", "completed"]
    assert [event.data.get("reason") for event in run.events if event.type == "session.run.resumed"] == [
        "signal",
        "lease_expired",
    ]
    assert [(step.attempt, step.intent) for step in run.step_runs] == [
        (1, "search"),
        (2, "answer"),
        (2, "charge"),
        (3, "charge"),
    ]


async def test_too_many_crashes_give_a_turn_up():
    run = await run_turn(Fails(), "hello", crash_after=[1, 2], max_attempts=2)
    assert (run.status, code_of(run)) == ("failed", "attempts_exhausted")


async def test_a_factory_makes_hooks_for_each_worker():
    made = []

    def make():
        made.append(Shop())
        return made[-1]

    run = await run_turn(make, "socks", signals={"approval": "yes"}, crash_after="checkpoint.search")
    assert run.status == "completed"
    assert [shop.did["search"] for shop in made] == [1, 0, 0]
    assert (await run_turn(Fails, "hello")).final_text == "hello"


async def test_a_dead_worker_calls_no_hook_any_more():
    class Traced(Fails):
        async def trace_flush(self, turn):
            self.did[f"flush {turn.attempt}"] += 1

    hooks = Traced()
    run = await run_turn(hooks, "hello", crash_before="settle")
    assert run.status == "completed"
    assert (hooks.did["flush 1"], hooks.did["flush 2"]) == (0, 1)


async def test_a_producer_that_catches_everything_cannot_write_after_its_worker_s_death():
    async def stubborn(turn):
        for number in range(3):
            try:
                await turn.step(f"step-{number}", work)
            except BaseException:
                if turn.attempt > 1:
                    raise
        yield say(f"attempt {turn.attempt}")

    async def work():
        return None

    run = await run_turn(Says(stubborn), "hello", crash_before="checkpoint.step-1")
    assert (run.status, run.final_text, run.log_flaws) == ("completed", "attempt 2", [])


async def test_a_plain_function_may_produce():
    class Plain(ChatTurnHooks):
        def produce(self, turn):
            yield say(turn.message)

    assert (await run_turn(Plain(), "hello")).final_text == "hello"


async def test_runs_side_by_side_do_not_meet():
    runs = await asyncio.gather(*(run_turn(Fails(), "hello", crash_after=number) for number in range(1, 5)))
    assert [run.status for run in runs] == ["completed"] * 4
    assert all(run.log_flaws == [] for run in runs)


def test_a_test_need_not_be_a_coroutine():
    run = run_turn_sync(Shop(), "socks")
    assert asyncio.run(run.signal("approval", "yes")).final_text == "found yes it is"


def test_no_environment_and_no_socket_is_needed(monkeypatch: pytest.MonkeyPatch):
    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setenv("TURNWIRE_NO_SUCH_SETTING", "refused by everybody who reads the environment")
    monkeypatch.setattr(socket.socket, "connect", no_socket)
    assert run_turn_sync(Fails(), "hello").final_text == "hello"


async def test_a_turn_that_failed_can_be_asked_again_and_repeats_no_step():
    calls = []

    async def fails_once(turn):
        await turn.step("search", search)
        if turn.attempt == 1:
            raise TurnFailure("not now", retryable=True)
        yield say("found")

    async def search():
        calls.append("search")

    failed = await run_turn(Says(fails_once), "hello", user="ada")
    assert failed.error is not None
    assert (failed.status, failed.error.retryable) == ("failed", True)
    run = await failed.retry()
    assert (run.status, run.final_text, run.attempts, calls) == ("completed", "found", 2, ["search"])
    assert (run.record.user, run.log_flaws, run.events[1].data["reason"]) == ("ada", [], "retry")
    with pytest.raises(WrongUse, match="the turn is completed"):
        await run.retry()
