"""The benchmark of credentials runs, and what it measures is the check that requests go through."""

import json
import subprocess
import sys
from pathlib import Path

from stack.cluster import ROOT, bare_environment


def test_the_smallest_run_gives_a_figure_for_each_kind_of_credentials(tmp_path: Path) -> None:
    result = tmp_path / "credentials.json"
    argv = [sys.executable, "-m", "benchmarks.credentials", "--quick", "--rounds", "1", "--keys", "1", "20"]
    done = subprocess.run(
        [*argv, "--json", str(result)], cwd=ROOT, env=bare_environment(), capture_output=True, text=True, timeout=50,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(result.read_text())["rows"]
    assert [name for name, _ in rows if "API key" in name] == ["an API key, one of 1", "an API key, one of 20"]
    assert len(rows) == 6
    assert all(figure > 0 for _, figure in rows)
