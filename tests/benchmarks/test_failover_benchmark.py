"""The benchmark of failovers counts what went wrong, and runs."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.failover import COLUMNS, add_row
from benchmarks.rig.report import Report
from stack.cluster import ROOT, bare_environment
from tests.support.sentinel_failovers import Outcome


def test_what_went_wrong_is_counted_by_its_kind(tmp_path: Path) -> None:
    result = tmp_path / "failover.json"
    report = Report("failover", argparse.Namespace(json=result), COLUMNS)
    well = Outcome(1, [], silence_s=[0.1, 0.3, 0.2])
    hole = Outcome(3, ["chat:a:0: the client: seq is not dense: [0, 2]"], produced_again=1, silence_s=[0.2])
    mixed = Outcome(1, ["chat:a:0: a fresh reader: the text is 'x', not 'y'", "open:* holds {}"], silence_s=[2.0])
    assert add_row(report, "ordered", [well], turns=2)
    assert not add_row(report, "planned", [well, hole, mixed], turns=2)
    report.publish()
    rows = json.loads(result.read_text())["rows"]
    assert rows[0] == ["ordered", "1", "2", "0", "0", "0", "0", "0", "0", pytest.approx(0.2), 0.3]
    assert rows[1][:9] == ["planned", "3", "6", "1", "1", "1", "1", "0", "2"]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_the_smallest_run_finds_nothing_wrong(tmp_path: Path) -> None:
    result = tmp_path / "failover.json"
    argv = [sys.executable, "-m", "benchmarks.failover", "--rounds", "1", "--turns", "4", "--kinds", "killed"]
    done = subprocess.run(
        [*argv, "--json", str(result)], cwd=ROOT, env=bare_environment(), capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [row] = json.loads(result.read_text())["rows"]
    assert row[:8] == ["killed", "1", "4", "0", "0", "0", "0", "0"]
