"""The benchmark of the codec runs and prints figures."""

import json
import subprocess
import sys
from pathlib import Path

from stack.cluster import ROOT, bare_environment


def test_the_smallest_run_measures_each_size(tmp_path: Path) -> None:
    result = tmp_path / "codec.json"
    argv = [sys.executable, "-m", "benchmarks.codec", "--rounds", "1", "--events", "10", "--json", str(result)]
    done = subprocess.run(
        argv, cwd=ROOT, env=bare_environment(), capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(result.read_text())["rows"]
    assert [row[0] for row in rows] == [20, 1000, 16_000]
    assert all(row[1] > 0 and row[3] < row[4] * 1.5 for row in rows)
