"""`dev.py test --processes` runs every test once, and shows each failure, also that of a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FILES = {
    "test_plain.py": """
import os, pytest
@pytest.fixture(scope="session")
def whole():
    yield os.getpid()
    raise OSError("the end of the fixture broke")
def test_passes(tmp_path, whole):
    print("from", tmp_path)
def test_fails():
    print("shown when it fails")
    assert False
@pytest.mark.parametrize("number", [1, 2])
def test_is_in_the_same_process(whole, number):
    assert whole == os.getpid()
""",
    "test_killed.py": """
import os
def test_before(): pass
def test_dies(): os.kill(os.getpid(), 9)
def test_after(): pass
""",
    "test_skipped.py": """
import pytest
def test_skips(): pytest.skip("for no reason")
@pytest.mark.xfail
def test_is_known_to_fail(): assert False
""",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tests")
    for name, content in FILES.items():
        (folder / name).write_text(content)
    return folder


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-p", "tests.support.forked_runs", "-p", "no:cacheprovider"]
    argv += ["-ra", "-c", os.devnull, "--rootdir", str(folder), *options, str(folder)]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_each_test_is_run_once_and_each_failure_is_shown(folder):
    done = run(folder, "--processes", "2")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "2 failed, 5 passed, 1 skipped, 1 xfailed, 1 error in" in done.stdout
    for text in (
        "shown when it fails",
        "the end of the fixture broke",
        "the process that ran this test ended with exit status -9",
        "for no reason",
    ):
        assert text in done.stdout
    assert done.stderr == ""


def test_the_first_failure_ends_the_run_if_that_is_wanted(folder):
    done = run(folder, "--processes", "2", "-x", "-k", "killed")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed, " in done.stdout
    assert "stopping after 1 failures" in done.stdout


def test_a_file_that_cannot_be_collected_ends_the_run(folder, tmp_path):
    (tmp_path / "test_broken.py").write_text("import there_is_no_such_module\n")
    done = run(tmp_path, str(folder), "--processes", "2")
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "1 error in" in done.stdout
