"""Writes the metrics of a process in the formats of Prometheus."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from turnwire import __version__
from turnwire.shared.metric_names import BY_NAME, METRICS, Process
from turnwire.shared.metrics import Counter, Histogram, counted

if TYPE_CHECKING:  # it takes 70 ms to load, so only a process that is asked for its metrics loads it
    from prometheus_client import CollectorRegistry, Metric

Sample = tuple[tuple[str, ...], float]  # the values of the labels, and the value
Gauges = Mapping[str, Iterable[Sample]]  # by the name of the metric


class Exposition:
    """Writes the metrics of one kind of process.

    `read`: it returns the gauges of this process by their names, and is called at each scrape.
    """

    def __init__(self, process: Process, read: Callable[[], Mapping[str, float]]) -> None:
        self._metrics = [metric for metric in METRICS if process in metric.processes]
        self._read = read
        self._of_python: CollectorRegistry | None = None

    def write(self, accept: str, gauges: Gauges = MappingProxyType({})) -> tuple[bytes, str]:
        """Return the metrics and their media type. `accept`: of the request. `gauges`: besides those of the process."""
        from prometheus_client.exposition import choose_encoder

        encode, media_type = choose_encoder(accept)
        return encode(_Families([*self._families(gauges)])), media_type

    def _families(self, gauges: Gauges) -> Iterator["Metric"]:
        for one in counted(self._metrics):
            yield _of_counter(one) if isinstance(one, Counter) else _of_histogram(one)
        own: Gauges = {name: [((), value)] for name, value in self._read().items()}
        for name, samples in {"turnwire_build_info": [((__version__,), 1.0)], **own, **gauges}.items():
            yield _of_gauge(name, samples)
        yield from self._python().collect()

    def _python(self) -> "CollectorRegistry":
        """What prometheus-client says of every Python process: memory, CPU, open files, garbage collection."""
        if self._of_python is None:
            from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

            self._of_python = CollectorRegistry()
            for kind in (ProcessCollector, PlatformCollector, GCCollector):
                kind(registry=self._of_python)
        return self._of_python


class _Families:
    """Families of metrics, in the form in which prometheus-client takes them."""

    def __init__(self, families: list["Metric"]) -> None:
        self._families: Final = families

    def collect(self) -> list["Metric"]:
        return self._families


def _of_counter(counter: Counter) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    metric = counter.metric
    family = CounterMetricFamily(metric.name, metric.meaning, labels=[*metric.labels])
    for labels, value in list(counter.values.items()):
        family.add_metric(labels, value)
    return family


def _of_histogram(histogram: Histogram) -> "Metric":
    from prometheus_client import utils
    from prometheus_client.core import HistogramMetricFamily

    bound_text: Any = utils.floatToGoString  # it has no annotations
    metric, counts = histogram.metric, list(histogram.counts)
    family = HistogramMetricFamily(metric.name, metric.meaning)
    bounds = [bound_text(bound) for bound in (*histogram.bounds, inf)]
    family.add_metric([], [*zip(bounds, accumulate(counts), strict=True)], histogram.total)
    return family


def _of_gauge(name: str, samples: Iterable[Sample]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    metric = BY_NAME[name]
    family = GaugeMetricFamily(name, metric.meaning, labels=[*metric.labels])
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
