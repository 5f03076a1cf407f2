"""`dev.py demo` checks itself. It is run here as it is, with a product that forgets its step, and with Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stack.demo.reading import keeps, standing, text
from tests.stack.watching import children_of, interruptible, is_gone, until

ROOT = Path(__file__).resolve().parents[2]
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("TURNWIRE_")}

FORGETFUL = """
from stack.demo.product import hooks

class Forgetful(type(hooks)):
    async def produce(self, turn):
        plan, turn.step = turn.step, lambda intent, work, **_: work() if intent == "plan" else plan(intent, work)
        async for event in super().produce(turn):
            yield event

hooks.__class__ = Forgetful
"""
RUN = """
import sys
from stack.demo import __main__, scene
scene.SETTINGS.update(eval(sys.argv[1]))
sys.exit(__main__.main())
"""


def test_the_demo_shows_what_it_says_and_checks_it():
    shown = subprocess.run(
        [sys.executable, "-m", "stack", "demo"], cwd=ROOT, env=PLAIN, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stderr == ""
    assert "session.run.resumed" in shown.stdout
    assert "redis-cli GET 'lease:chat:{demo}:0'" in shown.stdout
    assert shown.stdout.count("   ok  ") == 12
    assert "\033" not in shown.stdout, "there are colours, although this is not a terminal"


def test_a_step_that_is_paid_twice_is_a_failure(tmp_path):
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    settings = {"TURNWIRE_HOOKS": "forgetful:hooks", "PYTHONPATH": str(tmp_path)}
    argv = [sys.executable, "-c", RUN, repr(settings)]
    shown = subprocess.run(argv, cwd=ROOT, env=PLAIN, capture_output=True, text=True, check=False)
    assert shown.returncode == 1, shown.stdout + shown.stderr
    assert "FAIL  the model was paid once for the plan" in shown.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_ctrl_c_leaves_nothing(tmp_path, number):
    env = PLAIN | {"TMPDIR": str(tmp_path)}
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(interruptible("-m", "stack.demo"), cwd=ROOT, env=env, stdout=file, stderr=file)
    try:
        assert until(lambda: "session.run.started" in output.read_text()), output.read_text()
        children = children_of(process.pid)
        assert len(children) == 5
        process.send_signal(number)
        assert process.wait(60) == 130, output.read_text()
    finally:
        process.kill()
        process.wait()
    assert until(lambda: all(is_gone(pid) for pid in children))
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
    assert "Traceback" not in output.read_text()


def delta(cursor, word):
    return {"id": cursor, "type": "message.part.updated", "data": {"delta": word}}


def test_a_client_drops_the_events_that_a_resumed_line_takes_back():
    resumed = {"id": "2-1", "type": "session.run.resumed", "data": {"after": "1-0"}}
    assert text(standing([delta("1-0", "a"), delta("1-1", "lost"), resumed, delta("2-2", "b")])) == "ab"


def test_a_checkpoint_that_changed_is_seen():
    plan, search = ({"intent": name, "status": "completed"} for name in ("plan", "search"))
    assert keeps({0: plan, 1: search}, {0: plan, 1: search, 2: {}})
    assert not keeps({0: plan, 1: search}, {0: plan, 1: search | {"attempts": 2}})
    assert not keeps({0: plan}, {0: plan, 1: search})
