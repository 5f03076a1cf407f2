"""How the two processes end when a setting is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("process", ["api", "worker"])
def test_a_redis_url_that_is_none_is_named_with_exit_status_2(process):
    env = {name: value for name, value in os.environ.items() if not name.startswith("TURNWIRE_")}
    answer = subprocess.run(
        [sys.executable, "-m", process],
        cwd=ROOT,
        env=env | {"TURNWIRE_REDIS_URL": "nonsense"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert answer.returncode == 2, answer.stderr
    assert "not a Redis URL" in answer.stderr
    assert "Traceback" not in answer.stderr
