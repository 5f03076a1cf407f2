"""Which workers take a turn, and how soon: its pool and its priority. Together they are its lane."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self

import msgspec

from turnwire.shared.errors import SettingsError
from turnwire.shared.keys import DEFAULT_POOL

Priority = Literal["interactive", "batch"]

_POOL = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


class Lane(msgspec.Struct, frozen=True):
    """The lane of a turn. `pool`: the workers that take it. `priority`: batch turns let interactive ones go first."""

    pool: str = DEFAULT_POOL
    priority: Priority = "interactive"

    @property
    def name(self) -> str:
        """The lane's part of keys: `<pool>`, or `<pool>:batch`."""
        return self.pool if self.priority == "interactive" else f"{self.pool}:{self.priority}"

    def fields(self) -> dict[str, str]:
        """Return what the turn hash says of the lane. It says nothing of the defaults."""
        default = {"pool": DEFAULT_LANE.pool, "priority": DEFAULT_LANE.priority}
        own = {"pool": self.pool, "priority": str(self.priority)}
        return {name: value for name, value in own.items() if value != default[name]}

    @classmethod
    def read(cls, pool: bytes | None, priority: bytes | None) -> Self:
        """Return the lane that the turn hash names with these fields. An unknown priority counts as interactive."""
        named = pool.decode(errors="replace") if pool else DEFAULT_POOL
        return cls(named, "batch" if priority == b"batch" else "interactive")


DEFAULT_LANE: Final = Lane()


def served_lanes(pools: Sequence[str]) -> list[str]:
    """Return the names of the lanes that a worker of these pools serves, in the order in which it looks at them."""
    priorities: tuple[Priority, ...] = ("interactive", "batch")
    return [Lane(pool, priority).name for priority in priorities for pool in pools]


def read_pools(text: str) -> list[str]:
    """Read TURNWIRE_POOLS: names of pools, with commas between them.

    Raises:
        SettingsError: a name does not have 1 to 64 characters of `A-Z a-z 0-9 . _ -`, or is there twice.
    """
    pools = [name.strip() for name in text.split(",")]
    if len(set(pools)) < len(pools):
        raise SettingsError("TURNWIRE_POOLS: a pool is named twice")
    for name in pools:
        _check("TURNWIRE_POOLS", name)
    return pools


def read_project_pools(text: str) -> dict[str, str]:
    """Read TURNWIRE_PROJECT_POOLS: `project=pool` pairs, with commas between them; the project `*` is any other one.

    Raises:
        SettingsError: an entry is no such pair, or its project is there twice.
    """
    pools: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        project, _, pool = (part.strip() for part in entry.rpartition("="))
        if not project or project in pools:
            raise SettingsError(f"TURNWIRE_PROJECT_POOLS: {entry!r} is not project=pool, or its project comes again")
        _check("TURNWIRE_PROJECT_POOLS", pool)
        pools[project] = pool
    return pools


def pool_of(project: str | None, pools: Mapping[str, str]) -> str:
    """Return the pool whose workers take the turns of a project."""
    named = pools.get(project) if project else None
    return named or pools.get("*", DEFAULT_POOL)


def paused_field(kind: str, name: str) -> str:
    """Return the field that says that a tenant or a project (`kind`) is paused."""
    return f"{kind}:{name}"


def _check(setting: str, pool: str) -> None:
    if not _POOL.match(pool):
        raise SettingsError(f"{setting}: a pool must have 1 to 64 characters of A-Z a-z 0-9 . _ -, not {pool[:80]!r}")
