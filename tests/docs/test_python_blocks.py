"""The Python of every page is run, in a folder of its own, as a reader would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.markdown import ROOT, blocks

LIMIT_S = 120
PAGES = sorted({block.page for block in blocks("python")})


@pytest.mark.timeout(300)  # each file of the page is run in a process
@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page: str, tmp_path: Path):
    """Files of tests are saved and run by pytest, together; other blocks with a file name are saved and imported.

    The blocks without a name are run as one script, in order.
    """
    script: list[str] = []
    tests: list[str] = []
    for block in blocks("python", page):
        if block.title is None:
            script.append(f"# {block}\n{block.text}")
            continue
        if (tmp_path / block.title).exists():  # the page changes it: what the reader has by now must pass first
            run_tests(tests, tmp_path)
        (tmp_path / block.title).write_text(block.text, encoding="utf-8")
        if block.title.startswith("test_"):
            tests.append(block.title)
        else:
            run(["-c", f"import {Path(block.title).stem}"], tmp_path)
    run_tests(tests, tmp_path)
    if script:
        (tmp_path / "page.py").write_text("\n\n".join(script), encoding="utf-8")
        run(["page.py"], tmp_path)


def run_tests(names: list[str], folder: Path) -> None:
    """Run these files, without the plugins of this checkout, and forget them."""
    if names:
        run(["-m", "pytest", "-q", "-p", "no:cacheprovider", *names], folder, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
        names.clear()


def run(args: list[str], folder: Path, **more: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TURNWIRE_", "PYTEST_", "COV_"))}
    env |= {
        "PYTHONPATH": str(ROOT),
        "TURNWIRE_LLM_BASE_URL": "http://127.0.0.1:9/v1",
        "PYTHONDONTWRITEBYTECODE": "1",
    } | more
    argv = [sys.executable, "-W", "error", *args]
    ended = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
