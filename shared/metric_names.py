"""The names of the metrics. A name that is not exported yet is reserved here, so that nothing else takes it."""

from typing import Final

import msgspec


class Metric(msgspec.Struct, frozen=True):
    """One metric. `labels`: the names of its labels. `is_exported`: whether a process exports it already."""

    name: str
    labels: tuple[str, ...]
    meaning: str
    is_exported: bool = False


METRICS: Final = (
    Metric("turnwire_refused_requests_total", ("code", "holder"), "requests that a limit of a tenant or a key refused"),
    Metric("turnwire_refused_credentials_total", ("code",), "requests that were refused for their credentials"),
)
