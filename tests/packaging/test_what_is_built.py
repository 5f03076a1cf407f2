"""The wheel and the source distribution contain all of Turnwire, and the wheel contains nothing else."""

import tarfile
import zipfile

from stack.cluster import ROOT

ROOMS = ("api", "cli", "worker", "shared")


def files() -> set[str]:
    """Return every file of the import package, by its name in the package."""
    found = [path for room in (*ROOMS, "turnwire") for path in (ROOT / room).rglob("*")]
    names = [path.relative_to(ROOT) for path in found if path.is_file() and "__pycache__" not in path.parts]
    return {("" if name.parts[0] == "turnwire" else "turnwire/") + name.as_posix() for name in names}


def test_the_import_package_has_what_it_needs_beside_python():
    assert {"turnwire/py.typed", "turnwire/api/endpoints/docs.html", "turnwire/shared/store/lua/submit.lua"} <= files()
    assert "turnwire/shared/store/lua/parts/log.lua" in files()


def test_the_wheel_holds_the_whole_package_and_no_other(built):
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
        assert not any(".dist-info" in name for name in files())
        assert {name for name in names if ".dist-info/" not in name} == files()
        assert len(names) == len(set(names))
        assert {name.partition("/")[0].partition("-")[0] for name in names} == {"turnwire"}


def test_the_source_distribution_holds_the_whole_package(built):
    """The links must have become files, because the folders to which they lead are not there after unpacking."""
    with tarfile.open(built.sdist) as sdist:
        members = [member for member in sdist.getmembers() if not member.isdir()]
        assert all(member.isreg() for member in members)
        names = [member.name.partition("/")[2] for member in members]
    assert len(names) == len(set(names))
    assert {name for name in names if name.startswith("turnwire/")} == files()
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= set(names)
    assert not any(name.startswith((*(f"{room}/" for room in ROOMS), "tests/", "stack/")) for name in names)
