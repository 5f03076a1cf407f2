"""What a check has found."""

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"  # it works, but slower, or with a risk
    FAIL = "fail"  # turns can be lost, or nothing works


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One result of a check.

    Attributes:
        check: the name of the check.
        level: how bad it is.
        text: what is so.
        meaning: what follows from it; empty if everything is fine.
        fix: a command to paste, or what to do; empty if there is nothing to do.
        where: what was looked at, such as the variable that names the server.
    """

    check: str
    level: Level
    text: str
    meaning: str = ""
    fix: str = ""
    where: str = ""


def ok(check: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check=check, level=Level.OK, text=text)


def warn(check: str, text: str, meaning: str, fix: str = "") -> Finding:
    """Return a finding that should be mended some day."""
    return Finding(check=check, level=Level.WARN, text=text, meaning=meaning, fix=fix)


def fail(check: str, text: str, meaning: str, fix: str = "") -> Finding:
    """Return a finding that must be mended."""
    return Finding(check=check, level=Level.FAIL, text=text, meaning=meaning, fix=fix)
