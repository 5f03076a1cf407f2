"""Workers are killed in mid-answer, or all restarted under a hundred answers: nothing is lost or made twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stack.cluster import ROOT, bare_environment
from turnwire.worker.backends.quirks import KEEPS

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

GO_ON = ("prefill", "flags", "prefix", "llama-stream", "responses")


def test_nothing_is_lost_and_next_to_nothing_is_made_twice(tmp_path: Path) -> None:
    result = tmp_path / "continuation.json"
    argv = [sys.executable, "-m", "benchmarks.continuation", "--offline", "--kills", "1", "--turns", "100"]
    done = subprocess.run(
        [*argv, "--modes", *GO_ON, "--json", str(result)],
        cwd=ROOT, env=bare_environment(), capture_output=True, text=True, timeout=1190, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [row[1:] for row in json.loads(result.read_text())["rows"]]
    assert [row[:3] for row in rows if "restarted" in row[1]] == [[mode, "3 restarted", "100"] for mode in GO_ON]
    for mode, struck, answers, share, twice, dropped, _, same in rows:
        assert same == f"{answers} of {answers}"
        assert dropped == 0
        most = 1.02 if "restarted" in struck else 1.05  # the word that is cut back weighs more in a single answer
        assert (twice == 0) if mode in KEEPS else (float(share) <= most)
