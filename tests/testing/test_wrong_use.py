"""Mistakes in a test: each has an error of its own, which says what is wrong."""

import pytest

from tests.testing.products import Fails, Says, Shop, say
from turnwire import ChatTurnHooks
from turnwire.testing import (
    TIMES_OUT,
    CrashPointNeverReached,
    ManualClock,
    NotHooks,
    SignalNeverAsked,
    TurnNeverEnds,
    WrongUse,
    run_turn,
)


@pytest.mark.parametrize("hooks", [object(), ChatTurnHooks(), None, 7, dict, lambda: None, ChatTurnHooks])
async def test_hooks_without_produce_are_refused(hooks):
    with pytest.raises(NotHooks, match="produce"):
        await run_turn(hooks, "hello")


async def test_a_signal_that_is_never_asked_for_is_named():
    with pytest.raises(SignalNeverAsked, match=r"waits for the signal 'approval' and never asked for .* 'aproval'"):
        await run_turn(Shop(), "socks", signals={"aproval": 1})
    with pytest.raises(SignalNeverAsked, match="the turn is completed and never"):
        await run_turn(Fails(), "hello", signals={"approval": 1})


async def test_a_wait_without_a_limit_cannot_time_out():
    async def waits(turn):
        yield say(await turn.signal("approval"))

    with pytest.raises(WrongUse, match="without a limit"):
        await run_turn(Says(waits), "hello", signals={"approval": TIMES_OUT})


@pytest.mark.parametrize("point", [99, "checkpoint.serach"])
async def test_a_crash_point_that_is_never_reached_is_an_error_that_names_the_writes(point):
    with pytest.raises(CrashPointNeverReached, match=r"1 claim, 2 append, .* end"):
        await run_turn(Fails(), "hello", crash_after=point)


async def test_a_turn_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("turnwire.testing.stage.JOBS", 3)
    with pytest.raises(TurnNeverEnds):
        await run_turn(Fails(), "hello", crash_after=[1, 2, 3, 4])


def test_time_never_goes_back():
    with pytest.raises(ValueError, match="back"):
        ManualClock().advance(-1)


@pytest.mark.parametrize(
    "history", [[{"role": "user", "content": "a"}], [{"role": "assistant", "content": "a"}], [{"role": "tool"}]]
)
async def test_history_that_does_not_take_turns_is_refused(history):
    with pytest.raises(WrongUse, match="history"):
        await run_turn(Shop(), "hello", history=history)
