"""Turns that fail or are cancelled: what is kept of them, and that the product is told, at least once."""

import pytest

from tests.testing.products import Hears
from turnwire import Turn, TurnError
from turnwire.shared.settings import Settings
from turnwire.testing import TurnRun, run_turn

KEEPS = Settings(history_stopped="keep")


class HearsAll(Hears):
    def on_turn_complete(self, turn: Turn, final_text: str) -> None:
        pass


class Transforms(Hears):
    def transform_final_text(self, turn: Turn, text: str) -> str:
        return text.upper()


def of(run: TurnRun) -> tuple[str, str | None, str | None]:
    return run.status, run.final_text, run.record.partial_text


async def test_a_turn_that_is_cancelled_keeps_what_it_has_said():
    hooks = Hears()
    run = await run_turn(hooks, "hello", cancel_after=1)
    assert of(run) == ("cancelled", None, "one ")
    assert hooks.told == [("cancelled", "one ")]


async def test_a_turn_that_failed_is_told_of_each_time_and_keeps_no_text_once_it_completes():
    hooks = Hears()
    run = await run_turn(hooks, "fail")
    assert of(run) == ("failed", None, "one two")
    run = await run.retry()
    assert hooks.told == [("broke", "one two")] * 2
    run = await run.retry()
    assert of(run) == ("completed", "one two", None)
    assert len(hooks.told) == 2


@pytest.mark.parametrize(
    ("crash", "times"),
    [
        ({"crash_after": "settle"}, 1),
        ({"crash_before": "keep_step.on_turn_failed"}, 2),
        ({"crash_after": "keep_step.on_turn_failed"}, 1),
    ],
)
async def test_the_next_worker_tells_if_the_one_that_ended_the_turn_dies(crash: dict[str, str], times: int):
    hooks = Hears()
    run = await run_turn(lambda: hooks, "fail", **crash)  # type: ignore[arg-type]
    assert of(run) == ("failed", None, "one two")
    assert hooks.told == [("broke", "one two")] * times
    assert run.log_flaws == []


async def test_a_turn_that_a_script_has_ended_is_told_of_with_the_text_that_stands():
    hooks = Hears()
    run = await run_turn(hooks, "wait")
    run = await run.cancel("enough")
    assert of(run) == ("cancelled", None, None)
    assert hooks.told == [("cancelled", "one two")]
    await run.wait(60)
    assert len(hooks.told) == 1


async def test_a_turn_that_is_given_up_is_told_of():
    hooks = HearsAll()
    run = await run_turn(lambda: hooks, "hello", crash_before=["settle"], max_attempts=1)
    assert run.status == "completed", "its answer was stored before the hook that follows it"
    run = await run_turn(lambda: hooks, "hello", crash_before=["append"], max_attempts=1)
    assert run.error is not None
    assert run.error.code == "attempts_exhausted"
    assert hooks.told == [("attempts_exhausted", "")]


async def test_a_hook_that_raises_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("turnwire.worker.attempt.finish.RETRY_S", 0.0)

    class Raises(Hears):
        def on_turn_failed(self, turn: Turn, error: TurnError, partial_text: str) -> None:
            super().on_turn_failed(turn, error, partial_text)
            raise ValueError("the database is away")

    hooks = Raises()
    run = await run_turn(hooks, "fail")
    assert run.status == "failed"
    assert len(hooks.told) == Settings().persist_tries


async def test_a_text_that_was_not_transformed_is_kept_nowhere():
    hooks = Transforms()
    assert of(await run_turn(hooks, "fail")) == ("failed", None, None)
    assert hooks.told == [("broke", "")]


async def test_a_stopped_turn_is_in_the_history_if_the_settings_say_so():
    for settings, parent, seen in ((None, -1, []), (KEEPS, 0, ["fail", "one two"])):
        hooks = Hears()
        run = await run_turn(hooks, "fail", settings=settings)
        run = await run.ask("next")
        assert run.record.parent == parent
        assert [message["content"] for message in hooks.histories[-1]] == seen
