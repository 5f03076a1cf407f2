"""A venv is made from a lock file: with a pip that is downloaded, with ensurepip, and with uv."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stack import pip_wheel, venvs
from stack.venvs import SetupError, make

NOTES = "import sys; open('asked', 'w').write(' '.join(sys.argv[1:]))"  # a pip that installs nothing
INSTALL = (
    "install -qq --no-input --disable-pip-version-check --prefer-binary --require-hashes --no-compile --no-deps -r"
)


@pytest.fixture
def lock(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lock").write_text("")
    return tmp_path / "lock"


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> Path:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("pip/__main__.py", NOTES)
    path = tmp_path / pip_wheel.NAME
    path.write_bytes(content.getvalue())
    monkeypatch.setattr(pip_wheel, "SHA256", pip_wheel.sha256(content.getvalue()))
    return path


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def no_index(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "no-index").as_uri())


def test_the_wheel_of_pip_installs(lock, wheel, tmp_path):
    make(tmp_path / "venv", lock)
    assert (tmp_path / "asked").read_text() == f"{INSTALL} {lock}"
    python = tmp_path / "venv" / "bin" / "python"
    assert subprocess.run([python, "-c", "import pip"], check=False, capture_output=True).returncode == 1


def test_without_any_of_them_it_is_an_error_with_the_reason(lock, no_index, tmp_path, monkeypatch):
    monkeypatch.setattr(venvs, "has_ensurepip", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(
        SetupError, match="cannot be downloaded, and there is neither ensurepip nor uv here: cannot read"
    ):
        make(tmp_path / "venv", lock)


def test_without_a_download_and_ensurepip_uv_makes_the_venv(lock, no_index, tmp_path, monkeypatch):
    monkeypatch.setattr(venvs, "has_ensurepip", lambda: False)
    program(tmp_path / "bin", "uv", 'echo "$@" >> asked')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    venv = tmp_path / "venv"
    make(venv, lock)
    assert (tmp_path / "asked").read_text().splitlines() == [
        "--version",
        f"venv --quiet --no-project --python {sys.executable} {venv}",
        f"pip install --quiet --python {venv}/bin/python --require-hashes -r {lock}",
    ]


def test_a_uv_that_does_not_run_is_not_used(tmp_path, monkeypatch):
    program(tmp_path / "bin", "uv", "exit 127")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert venvs.find_uv() is None


@pytest.mark.long
@pytest.mark.skipif(not venvs.has_ensurepip(), reason="this Python has no ensurepip")
def test_without_a_download_ensurepip_is_used_and_an_unknown_package_is_an_error(lock, no_index, tmp_path):
    lock.write_text("nothing==1.0\n")  # without a hash, so that pip refuses it before it asks any index
    with pytest.raises(SetupError, match=r"python -m pip install …` failed"):
        make(tmp_path / "venv", lock)
    assert (tmp_path / "venv" / "bin" / "pip").exists()
