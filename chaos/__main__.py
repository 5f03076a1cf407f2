"""`python3 dev.py chaos --minutes N [--seed S]`: break things at random under load, then reconcile every turn.

The exit status is 1 if there was any violation. The directory with all logs, the append-only file and the ledger is
kept, and its name is printed.
"""

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from chaos.faults import FAULTS
from chaos.monkey import ON_REQUEST, ONLY_IN, STRIKES, Monkey, ordinary, possible
from chaos.run import Choice, chaos
from stack.sentinels import SERVICE
from turnwire.shared.errors import SettingsError
from turnwire.shared.store.connect import connect


def main(args: list[str]) -> int:
    """Read the options and run. Returns the exit status: 1 if there was any violation."""
    options = parser().parse_args(args)
    strikes = ordinary(options.topology) if options.strikes is None else options.strikes
    if impossible := set(strikes) - set(possible(options.topology)):
        print(f"chaos: not in the topology {options.topology}: {', '.join(sorted(impossible))}", file=sys.stderr)
        return 2
    if options.topology == "sentinel":
        try:
            connect(f"redis+sentinel://127.0.0.1:1/{SERVICE}/0", connections=1)
        except SettingsError as error:
            print(f"chaos: this version cannot be run behind sentinels: {error}", file=sys.stderr)
            return 2
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    directory = Path(tempfile.mkdtemp(prefix="turnwire-chaos-"))
    print(f"chaos: seed {seed}, {options.minutes:g} minutes, {directory}", flush=True)
    choice = Choice(strikes, {name: FAULTS[name] for name in options.faults}, options.topology)
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    violations = asyncio.run(chaos(options.minutes * 60, chance, directory, choice))
    for text in violations[:50]:
        print(f"VIOLATION {text}")
    return 1 if violations else 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options. Its help lists every strike and every fault."""
    strikes = [f"  {name:<26}{getattr(Monkey, name).__doc__}{_when(name)}" for name in STRIKES]
    faults = [f"  {name:<26}{fault.about}" for name, fault in FAULTS.items()]
    listed = ["strikes, from outside:", *strikes, "", "faults that some turns have in themselves:", *faults]
    found = argparse.ArgumentParser(
        prog="dev.py chaos",
        description=__doc__,
        epilog="\n".join(listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--minutes", type=float, default=1.0, help="how long things are broken (default: 1)")
    found.add_argument("--seed", type=int, default=None, help="repeats the choices of another run")
    found.add_argument("--topology", choices=list(ONLY_IN), default="single", help="of Redis (default: %(default)s)")
    found.add_argument("--strikes", type=names_of(STRIKES), metavar="A,B", help="only these; `none`: none")
    found.add_argument("--faults", type=names_of(FAULTS), default=list(FAULTS), metavar="A,B", help="only these")
    return found


def _when(strike: str) -> str:
    where = [f" Only with --topology {name}." for name, strikes in ONLY_IN.items() if strike in strikes]
    return "".join(where) + " Only on request." * (strike in ON_REQUEST)


def names_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return the names in a text such as `a,b`. The text `none` gives no names."""

    def names(text: str) -> list[str]:
        chosen = [] if text == "none" else [name.strip() for name in text.split(",")]
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"not known: {', '.join(sorted(unknown))}")
        return chosen

    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
