"""The benchmark of blocking code runs, and its figures are right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stack.cluster import ROOT, bare_environment


@pytest.mark.long
def test_the_smallest_run_counts_turns_that_lose_their_lease(tmp_path: Path) -> None:
    result = tmp_path / "blocked.json"
    argv = [sys.executable, "-m", "benchmarks.blocked", "--rounds", "1", "--turns", "4", "--seconds", "0.3"]
    done = subprocess.run(
        [*argv, "--json", str(result)],
        cwd=ROOT, env=bare_environment(), capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = {row[0]: row[1] for row in json.loads(result.read_text())["rows"]}
    assert figures["turns, one of which blocks in each round"] == "4"
    assert figures["other turns that lost their lease"] == figures["turns that were billed twice"] == "0"
    beside = int(figures["of them on the blocked worker"])
    assert (figures["longest silence on the blocked worker, s"] >= 0.3) == (beside > 0)
