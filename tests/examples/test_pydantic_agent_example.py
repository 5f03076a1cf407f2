"""examples/pydantic_agent.py, in this process: its tools run once, and a person is asked."""

from tests.support.later import Later
from turnwire.testing import crash_at_each_write, run_turn

example = Later("examples.pydantic_agent")


async def test_it_refunds_after_a_yes_and_survives_a_crash_at_any_write():
    signals = {"approval-1": {"ok": True}}
    report = await crash_at_each_write(example.hooks, "7 is broken", user="u1", signals=signals, modes=["after"])
    assert report.problems == []
    assert report.undisturbed.final_text is not None
    assert '"buyer":"u1"' in report.undisturbed.final_text
    assert "refund chat:test:0/" in report.undisturbed.final_text


async def test_nothing_is_refunded_after_a_no():
    run = await run_turn(example.hooks, "7 is broken", signals={"approval-1": {"ok": False}})
    assert run.final_text is not None
    assert "refund chat" not in run.final_text
