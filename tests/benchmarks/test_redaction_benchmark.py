"""The benchmark of the redaction runs and prints figures."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import redaction


def test_the_smallest_run_measures_each_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tmp_path / "redaction.json"
    monkeypatch.setattr(sys, "argv", ["redaction", "--rounds", "1", "--events", "200", "--json", str(result)])
    redaction.main()
    rows = json.loads(result.read_text())["rows"]
    assert [(row[0], row[2]) for row in rows] == [(0, 0), (64, 64), (256, 256)]
    assert all(row[1] > 0 for row in rows)
