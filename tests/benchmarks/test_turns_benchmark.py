"""The first benchmark runs, checks what it reads, and prints figures."""

import json
import subprocess
import sys
from pathlib import Path

from stack.cluster import ROOT, bare_environment


def test_the_smallest_run_measures_ours_and_a_naive_service(tmp_path: Path) -> None:
    result = tmp_path / "turns.json"
    argv = [sys.executable, "-m", "benchmarks.turns", "--tiny", "--json", str(result)]
    env = bare_environment()
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert "| goal " in done.stdout
    report = json.loads(result.read_text())
    assert report["columns"][2:4] == ["Turnwire", "arq, max_jobs 10"]
    assert all(isinstance(figure, float | int) for row in report["rows"] for figure in row[2:4])
