"""The benchmarks of claims and of fairness run, and print figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stack.cluster import ROOT, bare_environment

SIZES = {
    "claims": ["--jobs", "40"],
    "fairness": [
        "--flood",
        "60",
        "--turns",
        "3",
        "--rate",
        "20",
        "--seconds",
        "3",
        "--workers",
        "1",
        "--slots",
        "5",
        "--reserved",
        "1",
    ],
}


@pytest.mark.parametrize("name", SIZES)
def test_the_smallest_run_prints_figures(tmp_path: Path, name: str) -> None:
    result = tmp_path / "figures.json"
    argv = [sys.executable, "-m", f"benchmarks.{name}", "--rounds", "1", *SIZES[name], "--json", str(result)]
    done = subprocess.run(
        argv, cwd=ROOT, env=bare_environment(), capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(result.read_text())["rows"]
    assert rows
    assert all(figure > 0 for row in rows for figure in row if isinstance(figure, float))
