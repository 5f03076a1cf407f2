"""Turnwire works beside a product that has packages of its own named `api`, `worker` and `shared`."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.cluster import ROOT
from stack.process import Service, answers, free_port
from stack.redis_server import RedisServer
from tests.packaging import product
from tests.packaging.conftest import Built, install, outside, run

LIMIT_S = 30.0
pytestmark = pytest.mark.timeout(180)  # it installs packages, and checks types without a cache


LONG = pytest.mark.long
WAYS = ["wheel", pytest.param("sdist", marks=LONG), pytest.param("editable", marks=LONG)]


@pytest.fixture(scope="module", params=WAYS)
def python(request, built: Built, tmp_path_factory) -> Path:
    """Return the Python of an environment into which Turnwire was installed in one of three ways."""
    target: dict[str, list[Any]] = {"wheel": [built.wheel], "sdist": [built.sdist], "editable": ["--editable", ROOT]}
    return install(tmp_path_factory.mktemp(request.param) / "venv", *target[request.param])


@pytest.fixture
def beside(tmp_path) -> Path:
    """Write the product. Returns its folder."""
    return product.write(tmp_path / "product")


def kill(service: Service) -> None:
    if service.running:
        service.kill()


@pytest.fixture
def start(python: Path, beside: Path, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts `python -m …` in the product's folder, on a Redis of the test's own."""
    with RedisServer(tmp_path / "redis") as redis, ExitStack() as stack:

        def start_one(module: str, ready: Callable[[Service], bool], **env: str) -> Service:
            settings = outside() | {"TURNWIRE_REDIS_URL": redis.url, "TURNWIRE_HOOKS": "legal_app:hooks"} | env
            service = Service(module, [str(python), "-m", module], settings, tmp_path / f"{module}.log", cwd=beside)
            stack.callback(kill, service)
            service.start().wait_until(lambda: ready(service), LIMIT_S)
            return service

        yield start_one


def test_both_processes_start_in_the_products_folder_and_its_hooks_import_its_own_packages(start, python, beside):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    start("turnwire.api", lambda _: answers(f"{url}/readyz"), TURNWIRE_PORT=str(port))
    worker = start("turnwire.worker", lambda service: "worker ready" in service.log())
    stream = httpx.post(f"{url}/v1/sessions/s/turns/0", json={"message": "Ada"}, timeout=LIMIT_S, trust_env=False)
    lines = stream.text.splitlines()
    assert '"session.run.completed"' in lines[-1], stream.text + worker.log()
    assert '"persisted":true' in lines[-1]
    record = httpx.get(f"{url}/v1/sessions/s/turns/0", timeout=LIMIT_S, trust_env=False).json()
    words, ours, their_api, their_worker = record["final_text"].split("|")
    assert words == "hello from the product, Ada"
    assert Path(their_api) == beside / "api" / "__init__.py"
    assert Path(their_worker) == beside / "worker" / "__init__.py"
    assert Path(ours) == Path(run(python, "-c", "import turnwire; print(turnwire.__file__)", cwd=beside).strip())
    worker.terminate()
    assert worker.wait(LIMIT_S) == 0, worker.last_lines()
    assert "row completed" in worker.log()


def test_the_command_is_installed(python: Path, beside: Path):
    command = python.parent / "turnwire"
    assert run(command, "--version", cwd=beside) == run(python, "-m", "turnwire", "--version", cwd=beside)
    assert "send" in run(command, "--help", cwd=beside)
    made = run(command, "keys", "new", "--name", "k", "--tenant", "acme", cwd=beside)
    assert made.startswith("tw_")


@pytest.mark.parametrize("python", ["wheel"], indirect=True)
def test_the_command_runs_the_whole_service(python: Path, tmp_path: Path):
    """A killed worker is started again, and Ctrl-C ends every process."""
    command, port = python.parent / "turnwire", free_port()
    argv = [str(command), "dev", "--port", str(port)]
    dev = Service("dev", argv, outside(), tmp_path / "dev.log", cwd=tmp_path).start()
    try:
        dev.wait_until(lambda: "Turnwire is ready" in dev.log() and "worker ready" in dev.log(), LIMIT_S)
        answer = run(command, "send", "demo", "hi", "--url", f"http://127.0.0.1:{port}", cwd=tmp_path)
        assert answer.startswith("You said: “hi”")
        info = httpx.get(f"http://127.0.0.1:{port}/v1/info", timeout=LIMIT_S, trust_env=False).json()
        assert info["features"]["development"] is True
        worker = int(re.search(r"worker ready: [^/]+/(\d+)/", dev.log())[1])  # type: ignore[index]
        os.kill(worker, signal.SIGKILL)
        dev.wait_until(lambda: dev.log().count("worker ready") == 2, LIMIT_S)
        dev.terminate()
        assert dev.wait(LIMIT_S) == 0, dev.last_lines()
        assert not answers(f"http://127.0.0.1:{port}/healthz")
        assert list((tmp_path / ".turnwire" / "data").iterdir())
    finally:
        kill(dev)


def test_every_public_name_can_be_imported_outside_the_checkout(python, beside):
    run(python, "consumer.py", cwd=beside)


@pytest.mark.parametrize("python", ["wheel"], indirect=True)
def test_the_wheel_is_what_is_imported_and_not_the_checkout(python, beside):
    """Otherwise the other tests would say nothing about the wheel."""
    at = Path(run(python, "-c", "import turnwire; print(turnwire.__file__)", cwd=beside).strip())
    assert python.parent.parent in at.parents
    assert ROOT not in at.parents


@pytest.mark.parametrize("python", ["wheel"], indirect=True)
def test_a_product_passes_a_strict_type_check_against_the_wheel(python, beside):
    cache = ROOT / ".turnwire" / "mypy-of-a-product"  # what it knows of the dependencies stays
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}"]
    run(*mypy, "--python-executable", python, "legal_app.py", "consumer.py", cwd=beside)


@pytest.mark.parametrize(
    "code",
    ["from worker.hooks import ChatTurnHooks", "import worker.hooks", "import shared", "from shared import keys"],
)
def test_an_import_by_the_name_of_a_folder_is_refused_and_the_right_name_given(code):
    """A class that is imported under two names would be two different classes."""
    refused = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("ImportError: ")
    assert "`turnwire" in refused.stderr.splitlines()[-1]
