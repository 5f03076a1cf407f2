#!/usr/bin/env python3
"""Run Turnwire from a checkout, on a machine that has nothing but python3.

    python3 dev.py                 the whole service: Valkey, API, worker, an offline model
    python3 dev.py demo            kills a worker in the middle of an answer, and shows the bill
    python3 dev.py test [args]     the tests (arguments go to pytest)
    python3 dev.py lint            formatting, lint, types, import directions
    python3 dev.py bench [name]    the benchmarks
    python3 dev.py chaos           breaks the service at random under load, then reconciles every turn
    python3 dev.py fuzz            sends random requests, made from /openapi.json
    python3 dev.py cli send ...    the command `turnwire`, for the running service; `cli --help` tells more
    python3 dev.py redis GET ...   one Redis command to the running service
    python3 dev.py keys new ...    makes an API key; docs/how-to/access.md shows how
    python3 dev.py docs            builds the documentation site into .turnwire/site

`python3 dev.py COMMAND --help` tells more about one of them. The first use installs the locked dependencies
into .turnwire/venv (safe to delete); it needs no pip, no Redis and no root. An interpreter that has the
dependencies already (`uv run dev.py`, an activated venv) is used as it is.
"""

# Old Pythons must be able to parse this file, or they could not say what is missing. Standard library only.
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
STATE = os.path.join(ROOT, ".turnwire")
VENV = os.path.join(STATE, "venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
MARKER = os.path.join(VENV, "turnwire-ready")
LOCK = os.path.join(ROOT, "requirements.lock")
OLDEST = (3, 11)


def main(args):
    if args[:1] in (["-h"], ["--help"], ["help"]):
        print(__doc__.strip())
        return
    if os.name != "posix":
        sys.exit("dev.py: Turnwire needs Linux or macOS (on Windows: WSL)")
    if os.environ.get("TURNWIRE_HOOKS"):  # a product's module lies in the folder where the command was given
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    os.environ["DEV_PY_FOLDER"] = os.getcwd()
    os.chdir(ROOT)  # `-m` must find our packages first, wherever the command was given
    python = VENV_PYTHON
    if has_dependencies():
        python = sys.executable
    elif not is_ready():
        run_with_new_python(args)
        if args[:1] == ["docs"]:  # needs another venv only, and can make it while this one is made
            python = sys.executable
        else:
            set_up()
    os.environ.pop("PYTHONSAFEPATH", None)  # it would hide the checkout from `python -m stack`
    sys.stdout.flush()
    os.execv(python, [python, "-m", "stack", *args])


# -- checks whether this interpreter, or our venv, can be used as it is


def has_dependencies():
    """Does the running interpreter satisfy pyproject.toml? Reads versions only, imports no dependency."""
    if sys.version_info < OLDEST:
        return False
    import tomllib
    from importlib.metadata import PackageNotFoundError, version

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)
    try:
        return all(
            satisfies(version(name), bounds)
            for name, bounds in map(parse, project["project"]["dependencies"] + project["dependency-groups"]["dev"])
        )
    except PackageNotFoundError:
        return False


def parse(requirement):
    """'redis[hiredis]>=5.3.1,<6; marker' -> ('redis', ['>=5.3.1', '<6'])."""
    name, bounds = re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*([^;]*)", requirement).groups()
    return name, [bound.strip() for bound in bounds.split(",") if bound.strip()]


def satisfies(version, bounds):
    def numbers(text):  # enough of PEP 440 for the lower bounds and caps that pyproject.toml uses
        return [int(digits) for digits in re.findall(r"\d+", text)]

    have = numbers(version)
    return all(have < numbers(bound) if bound.startswith("<") else have >= numbers(bound) for bound in bounds)


def is_ready():
    try:
        with open(MARKER) as file:
            return os.path.exists(VENV_PYTHON) and file.read() == fingerprint()
    except OSError:
        return False


def fingerprint():
    """Return what the venv was made from. Another lock, a moved checkout or an upgraded Python makes it stale."""
    with open(LOCK, "rb") as file:
        return "\n".join([hashlib.sha256(file.read()).hexdigest(), VENV, os.path.realpath(VENV_PYTHON)])


# -- makes the venv


def run_with_new_python(args):
    """Starts this file again in a Python that is new enough, if this one is not. Returns if it is."""
    if is_new_enough(sys.executable):
        return
    for name in ["python3.13", "python3.12", "python3.11"]:
        path = shutil.which(name)
        if path and is_new_enough(path):
            os.execv(path, [path, os.path.join(ROOT, "dev.py"), *args])
    uv = shutil.which("uv")
    if uv:  # it can download one
        bounds = ">=%d.%d" % OLDEST
        os.execv(uv, [uv, "run", "--no-project", "--python", bounds, os.path.join(ROOT, "dev.py"), *args])
    sys.exit(
        "dev.py: Turnwire needs Python %d.%d or newer; this is %d.%d, and neither python3.13, python3.12, "
        "python3.11 nor uv is on the PATH" % (OLDEST + tuple(sys.version_info[:2]))
    )


def is_new_enough(python):
    """Tries it by running it: a name on the PATH may be a shim with no Python behind it, or lack the venv module."""
    probe = "import sys, venv; sys.exit(sys.version_info < %r)" % (OLDEST,)
    try:
        return subprocess.call([python, "-c", probe], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def set_up():
    import fcntl

    sys.path.insert(0, ROOT)
    from stack import venvs

    os.makedirs(STATE, exist_ok=True)
    with open(os.path.join(STATE, "setup.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two first runs at the same time, the second waits and finds the venv done
        if is_ready():
            return
        say("installing the locked dependencies into .turnwire/venv (once) ...")
        try:
            venvs.make(venvs.Path(VENV), venvs.Path(LOCK))
        except venvs.SetupError as error:
            sys.exit("dev.py: could not set up .turnwire/venv: %s; fix this, then run it again" % error)
        venvs.compile_modules(venvs.Path(VENV))
        link_checkout()
        half = MARKER + ".half"
        with open(half, "w") as file:
            file.write(fingerprint())
        os.rename(half, MARKER)  # the last step, and an atomic one: from here on the venv is used


def link_checkout():
    """Makes turnwire importable from any folder, as an editable install would."""
    for site in glob.glob(os.path.join(VENV, "lib", "python3*", "site-packages")):
        with open(os.path.join(site, "turnwire.pth"), "w") as file:
            file.write(ROOT + "\n")


def say(text):
    sys.stderr.write("dev.py: %s\n" % text)
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
