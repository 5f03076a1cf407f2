"""The kit needs no Redis and no sockets, and a consumer of it passes a strict type check."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import turnwire.testing as kit
from turnwire.shared.store.queue import TurnQueue
from turnwire.shared.store.turns import TurnStore
from turnwire.testing.memory_queue import MemoryQueue
from turnwire.testing.memory_store import MemoryStore

ROOT = Path(__file__).parents[2]
MADE_OF_OTHERS = {"existing", "history"}  # methods that only call methods which are replaced
CONSUMER = """
from collections.abc import AsyncIterator
from typing import Any

from turnwire import ChatTurnHooks, Turn
from turnwire.testing import TIMES_OUT, Calls, CrashReport, Event, ManualClock, Step, TurnRun
from turnwire.testing import crash_at_each_write, run_turn, run_turn_sync


class Hooks(ChatTurnHooks):
    async def produce(self, turn: Turn) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "result", "data": {"finalText": "hello"}}


async def test_it() -> None:
    clock = ManualClock()
    run: TurnRun = await run_turn(Hooks, "hello", history=[("a", "b")], signals={"a": TIMES_OUT}, clock=clock)
    events: list[Event] = run.events
    steps: list[Step] = run.steps
    text: str | None = run.final_text
    assert events and steps and text and run.error is None
    calls = Calls()
    charge = calls.counted(len)
    assert charge("a") + 1
    report: CrashReport = await crash_at_each_write(Hooks(), "hello", calls=calls, modes=["before"])
    assert not report.problems and report.repeated_steps["a"] > 1
    assert run_turn_sync(Hooks(), "hello", crash_after=["claim", 2]).usage
"""


@pytest.mark.parametrize(("ours", "theirs"), [(MemoryStore, TurnStore), (MemoryQueue, TurnQueue)])
def test_every_method_of_the_redis_stores_is_replaced(ours: type, theirs: type):
    """One that is forgotten would fail for want of a connection, in some product's test."""
    methods = {name for name, _ in inspect.getmembers(theirs, inspect.iscoroutinefunction) if not name.startswith("_")}
    assert methods
    kept = {name for name in methods if getattr(ours, name) is getattr(theirs, name)}
    assert kept - MADE_OF_OTHERS == set()


def test_every_public_name_is_documented():
    names = [name for name in kit.__all__ if name != "TIMES_OUT"]  # a value, whose type is documented
    assert [name for name in names if not inspect.getdoc(getattr(kit, name))] == []


@pytest.mark.long
def test_a_strict_consumer_passes_its_type_checker(tmp_path: Path):
    (tmp_path / "consumer.py").write_text(CONSUMER, encoding="utf-8")
    cache = ["--cache-dir", str(tmp_path / "cache")]
    argv = [sys.executable, "-m", "mypy", "--strict", *cache, str(tmp_path / "consumer.py")]
    checked = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert checked.returncode == 0, checked.stdout


def test_the_kit_needs_neither_pytest_nor_the_api():
    code = "import sys, turnwire.testing; print(sorted({'pytest', 'starlette', 'uvicorn'} & set(sys.modules)))"
    argv = [sys.executable, "-c", code]
    loaded = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.strip() == "[]"


def test_the_fixtures_are_there_for_who_asks(tmp_path: Path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["turnwire.testing.pytest"]\n')
    (tmp_path / "test_it.py").write_text(
        "def test_it(turn_clock, turn_calls):\n"
        "    turn_clock.advance(1)\n"
        "    turn_calls.note('mail')\n"
        "    assert turn_calls.counts == {'mail': 1}\n"
    )
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    ended = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stdout
