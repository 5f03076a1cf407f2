"""Both processes end with a line and an exit status when a setting is wrong, or when a product cannot start."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ending import ended

ROOT = Path(__file__).resolve().parents[2]


URL, QUEUE_URL = "TURNWIRE_REDIS_URL", "TURNWIRE_QUEUE_REDIS_URL"
BAD_URLS = ["nonsense", "redis://:hunter2@host:port/0", "redis://:hunter2@host/0?no_such_option=1"]
SOME = {(URL, BAD_URLS[1]), (QUEUE_URL, BAD_URLS[2])}
BAD = [
    pytest.param(variable, url, marks=() if (variable, url) in SOME else (pytest.mark.long,))
    for variable in (URL, QUEUE_URL)
    for url in BAD_URLS
]


@pytest.mark.parametrize("process", ["api", "worker"])
@pytest.mark.parametrize(("variable", "url"), BAD)
def test_a_bad_redis_url_ends_the_process_with_one_line_that_names_the_variable(process, variable, url, tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("TURNWIRE_")}
    status, said = ended(process, env | {variable: url}, tmp_path)
    assert status == 2, said
    [line] = said.splitlines()
    assert line.startswith(f"turnwire {process}: {variable}: not a Redis URL")
    assert "hunter2" not in line


def test_an_api_whose_address_is_in_use_ends_with_1(redis_url: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = {name: value for name, value in os.environ.items() if not name.startswith("TURNWIRE_")}
        env |= {"TURNWIRE_REDIS_URL": redis_url, "TURNWIRE_PORT": str(taken.getsockname()[1])}
        argv = [sys.executable, "-m", "api"]
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1, done.stderr
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_product_that_cannot_start_ends_the_worker_in_order(tmp_path: Path, redis_url: str):
    product = (
        "from turnwire import ChatTurnHooks\nclass Legal(ChatTurnHooks):\n    produce = startup = lambda self: 1 / 0\n"
    )
    (tmp_path / "legal_app.py").write_text(product + "hooks = Legal()\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith("TURNWIRE_")}
    env |= {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "TURNWIRE_HOOKS": "legal_app:hooks",
        "TURNWIRE_REDIS_URL": redis_url,
    }
    argv = [sys.executable, "-m", "turnwire.worker"]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == "turnwire worker: the startup of Legal failed: ZeroDivisionError: division by zero"
