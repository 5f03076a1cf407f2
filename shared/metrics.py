"""Counts what a process does. Counting is cheap, so that it may be done for each round trip and each attempt.

The numbers are plain Python objects without locks; `exposition` reads them when somebody asks. A module makes those
that it counts when it is imported: `_ROUND_TRIPS = histogram("turnwire_redis_round_trip_seconds")`.

Two threads may count the same. Each change is one subscript or attribute of a built-in object that is read, added to
and written back; CPython does not switch threads in between. So no count is lost, and none ever goes back.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from itertools import product

from turnwire.shared.metric_names import BY_NAME, Metric


class Counter:
    """Counts up, for each combination of values of its labels. Combinations that the table knows begin with 0."""

    __slots__ = ("metric", "values")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.values: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for combination in product(*metric.labels.values()):
            self.values[combination] = 0.0

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Count `amount` more for these values of the labels, in the order of the table."""
        self.values[labels] += amount


class Histogram:
    """Counts observations by their size."""

    __slots__ = ("bounds", "counts", "metric", "total")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.bounds = metric.buckets
        self.counts = [0] * (len(self.bounds) + 1)  # of each bucket alone; the last one has no bound
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


_made: dict[str, Counter | Histogram] = {}


def counter(name: str) -> Counter:
    """Return the counter of this name; the process has one of each."""
    made = _made.get(name)
    if made is None:
        made = _made[name] = Counter(_listed(name, "counter"))
    assert isinstance(made, Counter)
    return made


def histogram(name: str) -> Histogram:
    """Return the histogram of this name; the process has one of each."""
    made = _made.get(name)
    if made is None:
        made = _made[name] = Histogram(_listed(name, "histogram"))
    assert isinstance(made, Histogram)
    return made


def counted(metrics: Iterable[Metric]) -> Iterable[Counter | Histogram]:
    """Return the counters and histograms among these metrics, also those that nothing has been counted with yet."""
    for metric in metrics:
        if metric.kind == "counter":
            yield counter(metric.name)
        elif metric.kind == "histogram":
            yield histogram(metric.name)


def _listed(name: str, kind: str) -> Metric:
    metric = BY_NAME[name]
    assert metric.kind == kind, name
    return metric
