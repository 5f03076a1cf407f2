"""Sends requests that are made from /openapi.json to a service of its own, with credentials of each kind.

No answer may be a status of 500 or above. Schemathesis makes the requests, those that fit the description as well as
those that break it. It lives in a venv of its own, `.turnwire/venv-fuzz`, made from tests/fuzz/schemathesis.lock at the
first use.
"""

import argparse
import hashlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from stack.cluster import ROOT, Stack
from stack.venvs import interpreter

LOCK: Final = ROOT / "tests" / "fuzz" / "schemathesis.lock"
KEY_OF: Final = "tw_fuzz-{}"
KEYS: Final = {  # name -> scopes and user
    "reader": (["read"], None),
    "writer": (["turns", "tokens"], None),
    "person": (["turns"], "ada"),
    "operator": (["turns", "read", "tokens", "admin"], None),
}
NOBODY: Final = "nobody"
FAST_S: Final = 20  # a request that takes longer fails the run
GENERATED: Final = re.compile(r"(\d+) generated")


def main(args: list[str]) -> int:
    """Run it and return the exit status: 1 if an answer was a status of 500 or above, or a request took too long."""
    parser = argparse.ArgumentParser(prog="dev.py fuzz", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--requests", type=int, default=5000, help="about so many, over all credentials (5000)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats an earlier run")
    options = parser.parse_args(args)
    tool = interpreter(LOCK, "venv-fuzz").parent / "schemathesis"
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        keys = directory / "keys.toml"
        keys.write_text("\n".join(_block(name) for name in KEYS), encoding="utf-8")
        env = {"TURNWIRE_HOOKS": "stack.fuzz_product:hooks", "TURNWIRE_API_KEYS_FILE": str(keys)}
        with Stack(directory, workers=1, env=env) as stack:
            return _attack(stack, tool, directory, options.requests, options.seed)


def _attack(stack: Stack, tool: Path, folder: Path, requests: int, seed: int) -> int:
    """Send a share of the requests with each kind of credentials, in rounds of about the same size."""
    sent, status, share = dict.fromkeys([NOBODY, *KEYS], 0), 0, requests / (len(KEYS) + 1)
    print(f"fuzz: about {requests} requests, --seed {seed}", flush=True)
    for name in sent:
        while sent[name] < share and not status:
            count, status = _round(stack.base_urls[0], tool, folder, name, seed, again=sent[name] > 0)
            sent[name] += count
            seed += 1
            if not count and not status:
                print("fuzz: Schemathesis does not say how many requests it made")
                return 1
    alive = all(service.running for service in stack.services)
    traces = sum(service.log().count("Traceback") for service in stack.services)
    print(f"fuzz: {sum(sent.values())} requests {sent}, tracebacks: {traces}, processes alive: {alive}")
    return status or int(not alive or traces > 0)


def _round(url: str, tool: Path, folder: Path, name: str, seed: int, *, again: bool) -> tuple[int, int]:
    """Returns how many requests were sent, and the exit status of Schemathesis."""
    header = [] if name == NOBODY else ["--header", f"Authorization: Bearer {KEY_OF.format(name)}"]
    options: Mapping[str, object] = {
        "--checks": "not_a_server_error",
        "--exclude-operation-id": "followSession",  # its stream does not end by itself
        "--phases": "fuzzing" if again else "examples,coverage,fuzzing",  # the others would be the same again
        "--mode": "all",
        "--max-examples": 200 if again else 50,
        "--seed": seed,
        "--request-timeout": FAST_S,
        "--suppress-health-check": "all",
        "--generation-database": "none",
    }
    named = [f"{option}={value}" for option, value in options.items()]
    done = subprocess.run(
        [tool, "--no-color", "run", f"{url}/openapi.json", *named, *header],
        capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "NO_PROXY": "*"},
    )  # fmt: skip
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:], sep="\n")
    return sum(map(int, GENERATED.findall(done.stdout))), done.returncode


def _block(name: str) -> str:
    scopes, user = KEYS[name]
    digest = hashlib.sha256(KEY_OF.format(name).encode()).hexdigest()
    named = "" if user is None else f'user = "{user}"\n'
    listed = ", ".join(f'"{scope}"' for scope in scopes)
    return f'[[key]]\nname = "{name}"\ntenant = "acme"\nscopes = [{listed}]\nsha256 = "{digest}"\n{named}'
