"""The Procfile is run as a platform runs it: through a shell, with PORT, and reachable from outside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack.process import answers, free_port
from tests.stack.watching import until
from tests.support.key_file import key_block, write_key_file

ROOT = Path(__file__).resolve().parents[2]
LINES = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
OTHER_LOOPBACK = "127.0.0.2"  # reaches a server that listens on every address, but not one on 127.0.0.1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address only")
@pytest.mark.parametrize(("asked", "reachable"), [(None, True), ("127.0.0.1", False)])
def test_web_listens_on_every_address_unless_the_platform_says_otherwise(redis_url, asked, reachable, tmp_path):
    port = free_port()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TURNWIRE_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = plain | {"PORT": str(port), "TURNWIRE_REDIS_URL": redis_url, "PATH": path}
    env["TURNWIRE_API_KEYS_FILE"] = str(write_key_file(tmp_path / "keys.toml", key_block("k", "tw_k", "t", ["read"])))
    if asked:
        env["TURNWIRE_HOST"] = asked
    web = subprocess.Popen(["/bin/sh", "-c", f"exec {LINES['web']}"], cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), 30)
        assert answers(f"http://{OTHER_LOOPBACK}:{port}/readyz") is reachable
    finally:
        web.terminate()
        web.wait()


def test_web_says_what_to_set_if_nobody_would_be_asked_for_credentials(redis_url):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TURNWIRE_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = plain | {"TURNWIRE_REDIS_URL": redis_url, "PATH": path}
    web = subprocess.run(
        ["/bin/sh", "-c", f"exec {LINES['web']}"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert web.returncode == 2
    assert web.stderr.startswith("turnwire api: TURNWIRE_HOST is 0.0.0.0, but nobody would be asked for credentials")
    assert web.stderr.count("\n") == 1


def test_the_procfile_names_both_processes():
    assert LINES.keys() == {"web", "worker"}
    assert LINES["worker"] == "python -m worker"
