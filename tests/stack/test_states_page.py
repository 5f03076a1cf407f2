"""docs/states.md agrees with the code."""

import pytest

from stack import states
from stack.cluster import ROOT
from turnwire.shared.lifecycle import TRANSITIONS, Change, TurnState

LUA = ROOT / "shared" / "store" / "lua"


def test_the_page_is_drawn_from_the_table():
    assert states.PAGE.read_text(encoding="utf-8") == states.drawn(), "run: python3 -m stack.states"


def test_a_transition_that_the_page_lacks_is_noticed(monkeypatch):
    monkeypatch.setitem(TRANSITIONS, (TurnState.COMPLETED, Change.ASK_AGAIN), TurnState.QUEUED)
    assert states.PAGE.read_text(encoding="utf-8") != states.drawn()


@pytest.mark.parametrize("change", Change)
def test_the_scripts_that_it_names_are_there(change):
    scripts = states.CHANGES[change][1].split(", ")
    assert [script for script in scripts if not (LUA / f"{script}.lua").exists()] == []
