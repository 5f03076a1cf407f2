"""Chaos is run for a moment with real processes, and each bad value of its product is tried by itself."""

import re

import pytest

from chaos.__main__ import main
from chaos.careless import CARELESS, STEPS
from chaos.deployment import ENV
from tests.support.scene import scene


@pytest.mark.timeout(120)
def test_a_short_run_reconciles_two_deployments(capsys):
    argv = ["--minutes", "0.05", "--seed", "1", "--strikes", "cut_connections", "--faults", "bad value,cancel,signal"]
    status = main(argv)
    shown = capsys.readouterr().out
    assert status == 0, shown
    figures = dict(re.findall(r"^(\w[\w ]*?)  +(.+)$", shown, re.MULTILINE))
    assert int(figures["turns"]) > 10
    assert int(figures["turns of the second"]) > 5
    checked, expired = int(figures["checked while kept"]), int(figures["expired unchecked"])
    assert checked + expired == int(figures["turns of the second"])
    assert figures["violations"] == "0"


async def test_each_bad_value_fails_its_turn_with_its_code(tmp_path):
    async with scene(tmp_path, env={"TURNWIRE_HOOKS": ENV["TURNWIRE_HOOKS"]}) as view:
        answers = {
            how: view.turn(events=3, careless=how, stream=stream)
            for stream in (True, False)
            for how in CARELESS
            if how not in STEPS or not stream
        }
        neighbour = view.turn(events=50, pace_ms=20)
        for reader in [view.ask(answer) for answer in [*answers.values(), neighbour]]:
            await reader
        await view.check(*answers.values(), neighbour)
        assert "session.run.resumed" not in neighbour.types
        answer = answers["nested step"]
        answer.metadata.pop("careless")
        with pytest.raises(AssertionError, match="it ended as"):
            await view.check(answer)


HANGING = [
    (hook, project)
    for hook in ("persist_assistant_message", "on_turn_complete", "on_event")
    for project in ("plain", "listening", None)
    if hook != "on_event" or project  # only the product `listening` has this hook
]


async def test_a_hook_that_hangs_loses_no_answer(tmp_path):
    env = {"TURNWIRE_HOOKS": ENV["TURNWIRE_HOOKS"], "TURNWIRE_HOOK_TIMEOUT_S": "0.5"}
    async with scene(tmp_path, env=env) as view:
        answers = [view.turn(events=3, project=project, hang={hook: 1}) for hook, project in HANGING]
        for reader in [view.ask(answer) for answer in answers]:
            await reader
        await view.check(*answers)
        for (hook, _), answer in zip(HANGING, answers, strict=True):
            assert view.count(answer)["persist_assistant_message"] == (2 if hook == "persist_assistant_message" else 1)
            assert view.count(answer)["on_turn_complete"] == 1
