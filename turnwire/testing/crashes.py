"""Runs a product through a crash at each write of its turn, and reports the effects."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from turnwire.shared.errors import TurnwireError
from turnwire.testing.calls import Calls
from turnwire.testing.errors import CrashPointNeverReached, WrongUse
from turnwire.testing.faults import Mode
from turnwire.testing.result import TurnRun
from turnwire.testing.run import run_turn

MODES: Final[tuple[Mode, ...]] = ("before", "after", "lost")
_SAID: Final = {"before": "crash before", "after": "crash after", "lost": "lost reply of"}
_OPTION: Final = {"before": "crash_before", "after": "crash_after", "lost": "lose_reply"}


class CrashRun(msgspec.Struct, frozen=True):
    """One run with one fault. `run` is None if it could not be run to its end."""

    fault: str  # the fault in words, with the number and the name of the write
    run: TurnRun | None
    calls: Counter[str]
    problems: list[str]


class CrashReport:
    """The outcome of all runs, compared with the run without a fault.

    Attributes:
        undisturbed: TurnRun, the run without a fault.
        runs: list[CrashRun], one for each write and each kind of fault.
        problems: list[str], each with the fault at which it happened. It is empty if the turn always ended as it does
            without a fault: with the same text, the same message id, and a log that was whole for every reader.
        repeated_steps: dict[str, int], the steps that ran more often than without a fault: intent -> the most runs in
            one turn. A step runs again if its worker dies before the result is stored, so its work must be repeatable.
        repeated_calls: dict[str, int], the same for `calls`.
        model_calls: int, the most `turn.usage.add` in one turn.
        persist_calls: int, the most calls of `persist_assistant_message` in one turn.
    """

    def __init__(self, undisturbed: CrashRun, runs: Sequence[CrashRun]) -> None:
        assert undisturbed.run is not None, "it has run"
        self.undisturbed = undisturbed.run
        self.runs = list(runs)
        self.problems = [f"{run.fault}: {problem}" for run in [undisturbed, *runs] for problem in run.problems]
        ended = [run.run for run in runs if run.run is not None]
        self.repeated_steps = _more(_steps_of(self.undisturbed), map(_steps_of, ended))
        self.repeated_calls = _more(undisturbed.calls, (run.calls for run in runs))
        self.model_calls = max((len(run.model_calls) for run in ended), default=0)
        self.persist_calls = max((len(run.persist_calls) for run in ended), default=0)

    def __str__(self) -> str:
        writes = self.undisturbed.writes
        lines = [
            f"{len(writes)} writes, {len(self.runs)} runs: {', '.join(writes)}",
            *(f"step {name!r}: ran up to {most} times" for name, most in self.repeated_steps.items()),
            *(f"{name}: called up to {most} times" for name, most in self.repeated_calls.items()),
            f"model calls: {len(self.undisturbed.model_calls)} without a fault, up to {self.model_calls}",
            f"persist calls: {len(self.undisturbed.persist_calls)} without a fault, up to {self.persist_calls}",
            *(f"PROBLEM: {problem}" for problem in self.problems),
        ]
        return "\n".join(lines if self.problems else [*lines, "no problems"])


async def crash_at_each_write(
    hooks: Any, message: str, *, calls: Calls | None = None, modes: Sequence[Mode] = MODES, **options: Any
) -> CrashReport:
    """Run a turn once without a fault. Then run it again for each write and each kind of fault.

    Args:
        hooks: as for `run_turn`. An instance is used in every run. A class or a function is called for each worker.
        message: the user's message.
        calls: counts effects that Turnwire cannot see.
        modes: the kinds of faults: the worker dies `before` the write, `after` it, or its reply is `lost`.
        options: the other arguments of `run_turn`, except `clock`, because each run has a clock of its own.

    Raises:
        WrongUse: the turn waits for a signal that is not in `signals`, or `clock` is given.
    """
    if "clock" in options:
        raise WrongUse("each run has a clock of its own")
    counted = calls if calls is not None else Calls()
    undisturbed = await _undisturbed(hooks, message, counted, options)
    runs: list[CrashRun] = []
    for mode in modes:
        number = 1
        while (run := await _disturbed(hooks, message, counted, options, undisturbed, (mode, number))) is not None:
            runs.append(run)
            number += 1
    return CrashReport(undisturbed, runs)


def crash_at_each_write_sync(hooks: Any, message: str, **options: Any) -> CrashReport:
    """Do the same as `crash_at_each_write`, in a test that is not a coroutine. No event loop may run there."""
    return asyncio.run(crash_at_each_write(hooks, message, **options))


async def _undisturbed(hooks: Any, message: str, calls: Calls, options: dict[str, Any]) -> CrashRun:
    calls.counts.clear()
    run = await run_turn(hooks, message, **options)
    if run.suspended:
        raise WrongUse(f"the turn waits for the signal {run.awaiting!r}: give it in `signals`")
    return CrashRun("no fault", run, Counter(calls.counts), run.log_flaws)


async def _disturbed(
    hooks: Any,
    message: str,
    calls: Calls,
    options: dict[str, Any],
    undisturbed: CrashRun,
    fault: tuple[Mode, int],
) -> CrashRun | None:
    """Run the turn with one fault. Returns None if there is no write with this number."""
    mode, number = fault
    calls.counts.clear()
    try:
        run = await run_turn(hooks, message, **(options | {_OPTION[mode]: number}))
    except CrashPointNeverReached:
        return None
    except TurnwireError as error:
        return CrashRun(f"{_SAID[mode]} {number}", None, Counter(calls.counts), [f"{type(error).__name__}: {error}"])
    assert undisturbed.run is not None, "it has run"
    said = f"{_SAID[mode]} {number} {run.writes[number - 1]}"
    return CrashRun(said, run, Counter(calls.counts), _problems(undisturbed.run, run))


def _problems(undisturbed: TurnRun, run: TurnRun) -> list[str]:
    problems = list(run.log_flaws)
    for name in ("status", "error", "final_text", "persist", "persisted", "awaiting"):
        was, became = getattr(undisturbed, name), getattr(run, name)
        if was != became:
            problems.append(f"{name} is {became!r}, and {was!r} without a fault")
    message_ids = {call.message_id for call in run.persist_calls}
    if len(message_ids) > 1:
        problems.append(f"the answer was persisted under {len(message_ids)} ids")
    return problems


def _steps_of(run: TurnRun) -> Counter[str]:
    """Count the runs of each intent's work. Steps of one intent at several positions do not count as repeats."""
    positions = Counter((step.intent, step.position) for step in run.step_runs)
    most: Counter[str] = Counter()
    for (intent, _), times in positions.items():
        most[intent] = max(most[intent], times)
    return most


def _more(usual: Counter[str], counts: Iterable[Counter[str]]) -> dict[str, int]:
    most: Counter[str] = Counter()
    for count in counts:
        most |= count
    return {name: times for name, times in sorted(most.items()) if times > usual[name]}
