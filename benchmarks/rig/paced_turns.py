"""Measures many turns at the pace of a model, as `pace` does: one load beside the floor, then up to saturation."""

from collections.abc import Iterator

import uvloop

from benchmarks.pace import KEPT, LATE_MS, RATE_PER_S, measure
from benchmarks.rig.measure import medians
from benchmarks.rig.report import Report
from benchmarks.rig.scene import Sizes, scene, share

COMPARED = {"events/s": ">= 8,550", "late ms p50": "<= 10", "late ms p99": "<= 100", "API us/event": "<= 60"}
FIGURES = {**COMPARED, "worker us/event": "<= 40", "Redis us/event": "<= 15"}  # and their goals
Step = tuple[float, float, float]  # events/s, p50 ms, p99 ms


def loads(sizes: Sizes) -> Iterator[tuple[int, dict[str, float], dict[str, float] | None]]:
    """Yield each number of turns with Turnwire's figures, and the floor's for the load that is compared.

    Ends after the first load that is too much.
    """
    for turns in sizes.steps:
        with scene({"TURNWIRE_MAX_JOBS": str(turns)}) as at:
            rounds = [
                uvloop.run(measure(at.stack, turns, sizes.seconds, f"t{turns}r{number}"))
                for number in range(sizes.rounds)
            ]
            floor = None
            if turns == sizes.compared:
                floor = uvloop.run(measure(at.floor_stack, turns, sizes.seconds, "floor"))
        ours = medians(rounds)
        yield turns, ours, floor
        if too_much(turns, ours):
            return


def too_much(turns: int, ours: dict[str, float]) -> bool:
    """Return whether the service does not keep up with the load."""
    return ours["late ms p50"] > LATE_MS or ours["events/s"] < turns * RATE_PER_S * KEPT


def run(sizes: Sizes, report: Report) -> list[Step]:
    """Measure all loads, and add the rows to the report. Returns the points of the plot."""
    report.columns = ["turns", *FIGURES]
    report.row("goal, 300 turns", *FIGURES.values())
    points, saturated = [], "not reached"
    for turns, ours, floor in loads(sizes):
        points.append((ours["events/s"], ours["late ms p50"], ours["late ms p99"]))
        report.row(f"{turns}", *(ours[name] for name in FIGURES))
        if floor:
            shares = [share(ours[name], floor[name], higher_is_better=name == "events/s") for name in COMPARED]
            rest = [None] * (len(FIGURES) - len(COMPARED))
            report.row(f"{turns}, bare app", *(floor[name] for name in COMPARED), *rest)
            report.row("share of the floor", *shares, *rest)
        if too_much(turns, ours):
            saturated = f"at {turns} turns, {turns * RATE_PER_S:,.0f} events/s wanted"
    report.note(
        "late: from made in the worker (or the bare app) to read by the client. All turns stream, 30 events/s each."
    )
    report.note(f"Saturated (a median above {LATE_MS:g} ms or under {KEPT:.0%} of the events): {saturated}.")
    return points
