"""Reads the contract at the top of each Lua script, and checks whether a call fits it.

-- A sentence or two on what the script does, and why it is safe to repeat.
-- KEYS
--   turn       hash of the turn
-- ARGV
--   token      the value of this attempt's lease
--   event …    the events' bytes: any number of them
-- RETURNS
--   1
-- REFUSES
--   FENCED     this attempt has lost the turn
"""

import re
from collections.abc import Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from turnwire.shared import keys

SECTIONS = ("KEYS", "ARGV", "RETURNS", "REFUSES")
LUA = Path(__file__).parent.parent.parent / "shared" / "store" / "lua"
REST = " …"

_ITEM = re.compile(r"--   (\S+(?: \w+)*(?: …)?)(?: {2,}\S.*)?$")
_OF_A_SESSION = re.compile(r"(\w+):chat:\{")
_KINDS = {
    keys.LISTED: "listed",
    keys.OPEN_TURNS: "open_turns",
    keys.PENDING: "pending",
    keys.CALLBACKS: "pending",
    keys.HINTS: "hints",
    keys.RING: "ring",
    keys.SWEEPER: "sweeper",
    keys.WORKERS: "workers",
    keys.LEDGER: "rows",
    keys.ROW_INDEX: "row_index",
    keys.QUEUE: "queue",
    keys.SUSPECTS: "suspects",
    keys.ISOLATING: "isolating",
    keys.CLEARING: "clearing",
    keys.CANCELLING: "cancelling",
    keys.UNSERVED: "unserved",
    keys.UNSERVED_SINCE: "unserved_since",
    keys.FILLED_IN: "filled_in",
    keys.REBUILDING: "rebuilding",
    keys.BEAT: "beat",
    keys.GRACE: "grace",
    keys.RESERVING: "reserving",
    keys.ERASURES: "erasures",
    keys.AUDIT: "audit",
    keys.REVOKED: "revoked",
    keys.USED: "used",
    keys.PAUSED: "paused",
    keys.SUSPENDED: "suspended",
    keys.SUSPENDED_LINES: "lines",
}
_ALONE = {keys.CALLBACKS: "callbacks"}  # the name of a key in a script that has a place for it alone
_PREFIXES = {
    keys.DRAIN_PREFIX: "drain",
    keys.HELD_PREFIX: "held",
    keys.CLAIMS_PREFIX: "claims",
    keys.NEWCOMERS_PREFIX: "newcomers",
    keys.RATE_PREFIX: "rate",
    keys.OWN_OPEN_PREFIX: "own_open",
    keys.OWN_SESSIONS_PREFIX: "own_sessions",
    keys.KEY_RATE_PREFIX: "key_rate",
    keys.KEY_OPEN_PREFIX: "key_open",
    keys.KEY_SESSIONS_PREFIX: "key_sessions",
    keys.TENANTS_PREFIX: "tenants",
    keys.DEBTS_PREFIX: "debts",
    keys.WAITING_PREFIX: "waiting",
    keys.AGEING_PREFIX: "ageing",
    keys.LANE_PREFIX: "lane",
    keys.WEIGHT_PREFIX: "weight",
    keys.HINTS_PREFIX: "hints",
    keys.USAGE_PREFIX: "usage",
    keys.BILLED_PREFIX: "billed",
    keys.NAMED_ROWS_PREFIX: "named_rows",
    keys.USER_SESSIONS_PREFIX: "user_sessions",
    keys.JOB_PREFIX: "job",
    keys.IN_PROGRESS_PREFIX: "in_progress",
}


class Contract(NamedTuple):
    """One contract. `sections` maps each heading to its names in order. A name with ` …` stands for many values."""

    about: str
    sections: dict[str, list[str]]
    wrong: list[str]  # lines that do not have this form

    def fixed(self, section: str) -> list[str]:
        """Return the names that stand for one value each."""
        return [name for name in self.sections.get(section, []) if not name.endswith(REST)]

    def has_rest(self, section: str) -> bool:
        """True if any number of values may follow."""
        return any(name.endswith(REST) for name in self.sections.get(section, []))


def contract_of(text: str) -> Contract:
    """Read the comment block at the start of a script."""
    about: list[str] = []
    sections: dict[str, list[str]] = {}
    wrong = []
    names: list[str] | None = None
    for line in text.splitlines():
        if not line.startswith("--") or line.startswith("-- include:"):
            break
        heading, _, rest = line.removeprefix("-- ").partition(" ")
        if heading in SECTIONS and (not rest or heading == "RETURNS"):
            names = sections.setdefault(heading, [])
        elif names is None:
            about.append(line.removeprefix("-- "))
        elif names is sections.get("RETURNS") and line.startswith("--   "):
            names.append(line.removeprefix("--   "))
        elif item := _ITEM.match(line):
            names.append(item[1])
        else:
            wrong.append(line)
    return Contract(" ".join(about), sections, wrong)


@cache
def _contract_of_script(script: str) -> Contract:
    return contract_of((LUA / f"{script}.lua").read_text(encoding="utf-8"))


def kind_of(key: str) -> str:
    """Return the name that contracts give to a key."""
    if of_a_session := _OF_A_SESSION.match(key):
        return of_a_session[1]
    if key in _KINDS:
        return _KINDS[key]
    return next((kind for prefix, kind in _PREFIXES.items() if key.startswith(prefix)), key)


def misfits(script: str, names: Sequence[str], args: Sequence[object]) -> list[str]:
    """Return how a call differs from the script's contract; empty if it fits."""
    contract = _contract_of_script(script)
    found = []
    wanted = contract.fixed("KEYS")
    kinds = [
        _ALONE[name] if name in _ALONE and want == _ALONE[name] else kind_of(name)
        for name, want in zip_longest(names, wanted[: len(names)])
    ]
    if kinds[: len(wanted)] != wanted or (len(kinds) > len(wanted) and not contract.has_rest("KEYS")):
        found.append(f"{script}: KEYS are {kinds}, its contract names {contract.sections['KEYS']}")
    count = len(contract.fixed("ARGV"))
    if len(args) < count or (len(args) > count and not contract.has_rest("ARGV")):
        found.append(f"{script}: {len(args)} ARGV, its contract names {contract.sections.get('ARGV', [])}")
    return found
