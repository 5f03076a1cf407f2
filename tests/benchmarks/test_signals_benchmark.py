"""The benchmark of signals runs, checks what it reads, and prints figures."""

import json
import subprocess
import sys
from pathlib import Path

from stack.cluster import ROOT, bare_environment


def test_the_smallest_run_measures_a_few_signals(tmp_path: Path) -> None:
    result = tmp_path / "signals.json"
    argv = [sys.executable, "-m", "benchmarks.signals", "--rounds", "1", "--signals", "3", "--json", str(result)]
    done = subprocess.run(
        argv, cwd=ROOT, env=bare_environment(), capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(result.read_text())["rows"]
    assert [row[0] for row in rows] == ["session.run.resumed", "the producer's next event"]
    assert all(figure > 0 for row in rows for figure in row[1:3])
