"""Checks a completed turn of the product in `stepping`, whatever happened while it ran."""

import re
from pathlib import Path
from typing import Any, Final

from chaos import verify
from chaos.client import Answer, Line
from tests.support.scene import Scene, open_gate
from turnwire.shared.keys import TurnKey

STEPS: Final = {"first": "first", "answer": "answer", "last": "last"}  # intent -> what the ledger calls it
HOOKS_OF_THE_OUTBOX: Final = ("persist_assistant_message", "on_turn_complete")
DELTAS: Final = 5  # how many deltas a model call yields; each is a token
TOKENS_IN: Final = 7


def _expected_text(steps: dict[str, Any], fresh: list[Line], payload: str) -> str:
    """Return the text that the answer must have: one attempt's words around the answer in the checkpoint."""
    answer = verify.text_of(steps["answer"]["result"])
    first = verify.text_of(fresh).partition("begin ")[0]
    return f"{first}begin {answer}{payload}end"


async def check(view: Scene, answer: Answer, payload: str = "", *, outbox: bool = False) -> None:
    """Check what must hold of a completed turn of this product. The outbox runs the last hooks without steps."""
    steps = await verify.steps_of(view.redis, answer.run_id)
    fresh = await view.client.read(answer)
    text = _expected_text(steps, fresh, payload)
    found = await verify.check_turn(view.client, view.redis, answer, view.calls(answer), text=text)
    found += verify.check_calls(view.calls(answer), steps, hooks=STEPS)
    late = await view.client.read(answer, after=fresh[2]["id"])
    assert [line["id"] for line in late] == [line["id"] for line in fresh[3:]]
    asked_in = {call["attempt"] for call in view.calls(answer, "answer")}
    stored = {int(attempt) for attempt in re.findall(r"(\d+)\.\d", verify.text_of(steps["answer"]["result"]))}
    assert len(stored) == 1
    assert stored <= asked_in  # the stored answer is that of one call
    assert verify.text_of(fresh).count(".") == DELTAS
    assert answer.connections == 1
    await _check_bill(view, answer)
    if outbox:
        found = [flaw for flaw in found if not any(hook in flaw for hook in HOOKS_OF_THE_OUTBOX)]
        assert view.count(answer)["on_turn_complete"] >= 1
    assert not found, "\n".join(found)


async def _check_bill(view: Scene, answer: Answer) -> None:
    """Check that the turn's rows together count every model call, except those that died with their worker."""
    rows = await view.store.ledger(TurnKey.parse(answer.run_id))
    known = [(row, row.model_calls) for row in rows if row.model_calls is not None]
    calls, made = sum(count for _, count in known), len(view.calls(answer, "answer"))
    assert calls >= 1  # at least the call whose answer was kept, whatever happened to its worker
    assert calls <= made <= calls + len(rows) - len(known)
    assert [(row.tokens_in, row.tokens_out) for row, _ in known] == [
        (TOKENS_IN * count, DELTAS * count) for _, count in known
    ]


async def open_when_each_has_one(view: Scene, turns: list[Answer], gate: Path, attempt: int = 1) -> None:
    """Let the attempts go on once each of the faulty workers has a turn."""
    for answer in turns:
        await view.called(answer, "produce", attempt)
    open_gate(gate, attempt)
