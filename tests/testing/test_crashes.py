"""crash_at_each_write: what it finds in products that bear crashes, and in those that do not."""

import pytest

from tests.testing.products import Careless, Shop, say
from turnwire import ChatTurnHooks
from turnwire.testing import Calls, WrongUse, crash_at_each_write, crash_at_each_write_sync


class Mails(ChatTurnHooks):
    """Sends a mail outside of any step, and books a room in one."""

    def __init__(self, mail, book):
        self.mail, self.book = mail, book

    async def produce(self, turn):
        yield say("done")
        self.mail()
        await turn.step("book", self.book, kind="tool")


async def test_a_product_of_steps_bears_a_crash_at_every_write():
    report = await crash_at_each_write(Shop, "socks", signals={"approval": "yes"})
    writes = report.undisturbed.writes
    assert report.problems == []
    assert len(report.runs) == 3 * len(writes)
    assert {"claim", "append", "suspend", "checkpoint.charge", "settle", "end"} <= set(writes)
    assert report.repeated_steps == {"answer": 2, "charge": 2, "search": 2}  # each before its checkpoint stood
    assert report.model_calls == 2
    assert report.persist_calls == 2


async def test_a_lost_reply_repeats_no_work_at_all():
    report = await crash_at_each_write(Shop, "socks", signals={"approval": "yes"}, modes=["lost"])
    assert (report.repeated_steps, report.model_calls, report.persist_calls) == ({}, 1, 1)
    attempts = {found.run.attempts for found in report.runs if found.run is not None}
    assert attempts == {2}  # one more after the signal, none because of the fault


async def test_what_turnwire_cannot_see_is_counted_by_the_caller():
    calls = Calls()

    async def mail() -> None:
        """Stands for a mail, and does nothing."""

    sent = calls.counted(lambda: None, "mail")
    report = await crash_at_each_write(lambda: Mails(sent, calls.counted(mail, "book")), "hello", calls=calls)
    assert report.repeated_calls["mail"] == 2  # also where the step stood already: it is no step
    assert report.repeated_calls["book"] == 2
    assert report.repeated_steps == {"book": 2}
    after_book = [run for run in report.runs if run.fault == "crash after 3 checkpoint.book"]
    assert [run.calls for run in after_book] == [{"mail": 2, "book": 1}]
    assert "mail: called up to 2 times" in str(report)


async def test_a_product_that_answers_otherwise_each_time_has_problems():
    report = await crash_at_each_write(Careless, "hello")
    assert report.problems == []  # each worker has hooks of its own, which begin anew
    report = await crash_at_each_write(Careless(), "hello")
    assert any("final_text is 'run" in problem for problem in report.problems)
    assert any("step_divergence" in problem for problem in report.problems)
    assert "PROBLEM: crash before 1 claim: final_text is 'run 2', and 'run 1' without a fault" in str(report)


def test_the_report_can_be_read():
    report = crash_at_each_write_sync(Shop, "socks", signals={"approval": "yes"})
    lines = str(report).splitlines()
    assert lines[0].startswith(f"{len(report.undisturbed.writes)} writes, {len(report.runs)} runs: claim, ")
    assert "step 'charge': ran up to 2 times" in lines
    assert "model calls: 1 without a fault, up to 2" in lines
    assert lines[-1] == "no problems"


async def test_a_fault_that_ends_in_an_error_of_the_kit_is_a_problem():
    class Hasty(ChatTurnHooks):
        """Asks for approval in its first attempt only."""

        async def produce(self, turn):
            yield say("hello")
            if turn.attempt == 1:
                await turn.signal("approval")

    report = await crash_at_each_write(Hasty, "socks", signals={"approval": "yes"}, modes=["after"])
    assert report.problems[0].startswith("crash after 1: SignalNeverAsked: the turn is completed and never asked")


async def test_a_turn_that_waits_cannot_be_tried():
    with pytest.raises(WrongUse, match="'approval'"):
        await crash_at_each_write(Shop, "socks")
    with pytest.raises(WrongUse, match="clock"):
        await crash_at_each_write(Shop, "socks", clock=None)
