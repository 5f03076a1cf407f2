"""The hook `history`: the messages of the product's own database, once for all attempts."""

from typing import Any

import pytest

from tests.testing.products import say
from turnwire import ChatTurnHooks, Turn, TurnFailure
from turnwire.shared.settings import Settings
from turnwire.testing import run_turn

OWN = [{"role": "system", "content": "be kind"}, {"role": "tool", "tool_call_id": "1", "content": "7"}]


class Remembers(ChatTurnHooks):
    """Gives the histories one after the other; raises those that are exceptions."""

    def __init__(self, *histories: Any) -> None:
        self.histories = list(histories)
        self.seen: list[Any] = []

    async def history(self, turn: Turn) -> Any:
        assert turn.history() == []
        found = self.histories.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def produce(self, turn: Turn) -> Any:
        self.seen.append(turn.history())
        turn.history().clear()
        await turn.signal("go")
        yield say("done")


async def test_the_product_gives_the_messages_and_all_attempts_see_the_same():
    hooks = Remembers(OWN)
    run = await run_turn(hooks, "hello", history=[("kept", "by Turnwire")], signals={"go": 1})
    assert run.status == "completed"
    assert hooks.seen == [OWN, OWN]


@pytest.mark.parametrize(
    "broken",
    [ValueError("no database"), None, "text", [1], [{"content": "a"}], [{"role": "user", "content": object()}],
     [{"role": "user", "content": "x" * 2000}]],
)  # fmt: skip
async def test_a_history_that_fails_fails_the_turn_which_may_be_asked_again(broken: Any):
    hooks = Remembers(broken, OWN)
    run = await run_turn(hooks, "hello", settings=Settings(history_bytes=1000))
    assert run.error is not None
    assert (run.error.code, run.error.retryable) == ("history_failed", True)
    assert "database" not in run.error.message
    run = await run.retry(signals={"go": 1})
    assert (run.status, hooks.seen) == ("completed", [OWN, OWN])


async def test_a_product_may_fail_the_turn_in_its_own_words():
    run = await run_turn(Remembers(TurnFailure("who are you?", code="stranger")), "hello")
    assert run.error is not None
    assert (run.error.code, run.error.message) == ("stranger", "who are you?")


async def test_the_answer_is_not_lost_if_the_history_fails_after_it():
    hooks = Remembers([], ValueError("no database"))
    hooks.produce = lambda turn: (say(word) for word in ("a", "b"))  # type: ignore[method-assign]
    hooks.on_turn_complete = lambda turn, final_text: None  # type: ignore[method-assign]
    run = await run_turn(hooks, "hello", crash_before=["settle"])
    assert (run.status, run.attempts, hooks.histories) == ("completed", 2, [])
