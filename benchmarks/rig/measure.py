"""Computes percentiles, reads /proc, and collects facts about the machine."""

import math
import os
import platform
import statistics
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from stack.redis_server import server_version

_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def p50_p99(values: Sequence[float], prefix: str) -> dict[str, float]:
    """Return both percentiles, under `<prefix> p50` and `<prefix> p99`."""
    return {f"{prefix} p50": percentile(values, 50), f"{prefix} p99": percentile(values, 99)}


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure over all rounds, which have the same figures."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def least(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the smallest value of each figure over all rounds: of a cost, this is the one that was disturbed least."""
    return {name: min(one[name] for one in rounds) for name in rounds[0]}


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(pid)


def cpu_s(pid: int) -> float:
    """Return the user and system time of all threads of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def group(leader: int) -> list[int]:
    """Return the pids of the running processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[2]) == leader:
                found.append(int(stat.parent.name))
    return found


def machine() -> dict[str, str]:
    """Return the facts about the machine on which the figures depend."""
    load = os.getloadavg()[0]
    return {
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "redis": server_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load before": f"{load:.1f}",
    }
