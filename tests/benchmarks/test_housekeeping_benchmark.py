"""The benchmark of housekeeping runs, its killed workers are buried, and it prints figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stack.cluster import ROOT, bare_environment


@pytest.mark.long
def test_the_smallest_run_buries_those_who_were_killed(tmp_path: Path) -> None:
    result = tmp_path / "housekeeping.json"
    sizes = ["--workers", "8", "--turns", "500", "--clients", "20", "--claims", "10", "--seconds", "1"]
    argv = [sys.executable, "-m", "benchmarks.housekeeping", *sizes, "--json", str(result)]
    done = subprocess.run(
        argv, cwd=ROOT, env=bare_environment(), capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(result.read_text())["rows"]
    assert len(rows) == 5
    assert all(figure > 0 for _, figure, _ in rows)
