"""deploy/Dockerfile: its rules, and its steps run in a folder instead of a container."""

import json
import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import httpx
import pytest

from stack.cluster import ROOT, bare_environment
from stack.network import answers, free_port
from stack.process import Service
from stack.redis_server import RedisServer
from tests.packaging import product

BUILD_LIMIT_S: Final = 300


def instructions() -> list[tuple[str, str]]:
    """Return each instruction of the Dockerfile, with its lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(name, " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in lines) if name]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for name, rest in instructions():
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest))
    return found


def test_the_processes_are_not_root_and_get_signals():
    last = dict(stages()[-1])
    uid, gid = last["USER"].split(":")
    assert int(uid) > 1000
    assert int(gid) > 1000
    assert json.loads(last["CMD"]) == ["python", "-m", "turnwire.api"]  # no shell that would swallow SIGTERM


def test_every_package_is_pinned_by_its_hash():
    installs = [rest for name, rest in instructions() if name == "RUN" and " install " in rest]
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes --only-binary=:all:" in install or "--no-deps --no-index" in install


def test_what_is_copied_exists_and_reaches_the_builder():
    ignored = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
    ]
    for name, rest in stages()[0]:
        for source in rest.split()[:-1] if name == "COPY" else []:
            assert (ROOT / source).exists(), source
            assert source == "." or not any(fnmatch(source, one) or source.startswith(f"{one}/") for one in ignored)
    needed = {path.resolve().relative_to(ROOT).parts[0] for path in (ROOT / "turnwire").iterdir() if path.is_symlink()}
    assert needed & set(ignored) == set()


@pytest.mark.long
@pytest.mark.timeout(BUILD_LIMIT_S + 60)
def test_its_steps_make_an_environment_in_which_turns_run(tmp_path: Path):
    build, opt = tmp_path / "build", tmp_path / "opt"
    build.mkdir()
    for path in ROOT.iterdir():  # what `COPY` copies; the other folders are not needed
        if not path.name.startswith("."):
            (build / path.name).symlink_to(path)
    env = bare_environment() | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name, rest in stages()[0]:
        if name == "RUN":
            step = rest.replace("/opt/", f"{opt}/").replace("-d dist", f"-d {tmp_path}/dist")
            step = step.replace(" dist/", f" {tmp_path}/dist/")
            subprocess.run(["sh", "-euc", step], cwd=build, env=env, check=True, timeout=BUILD_LIMIT_S)
    python = str(opt / "turnwire" / "bin" / "python")
    app = product.write(tmp_path / "app")
    with RedisServer(tmp_path / "redis") as redis:
        port = free_port()
        env |= {"TURNWIRE_REDIS_URL": redis.url, "TURNWIRE_PORT": str(port), "TURNWIRE_HOOKS": "legal_app:hooks"}
        services = [
            Service(module, [python, "-m", f"turnwire.{module}"], env, tmp_path / f"{module}.log", cwd=app)
            for module in ("api", "worker")
        ]
        try:
            api, _ = [service.start() for service in services]
            api.wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), 30)
            url = f"http://127.0.0.1:{port}/v1/sessions/s/turns/0"
            stream = httpx.post(url, json={"message": "Ada"}, timeout=30, trust_env=False).text
            assert '"session.run.completed"' in stream.splitlines()[-1]
            assert str(opt) in stream
        finally:
            for service in services:
                if service.running:
                    service.kill()
