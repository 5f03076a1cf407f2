"""Metrics as a scrape sees them, and how much they have grown since another look."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from math import nan

from prometheus_client.parser import text_string_to_metric_families

from turnwire.shared.exposition import Exposition
from turnwire.shared.metric_names import Process


class Scraped:
    """The samples of one scrape. A process counts for as long as it lives, so tests look at what a scrape has more."""

    def __init__(self, text: str, before: "Scraped | None" = None) -> None:
        self._before = before
        self.types: dict[str, str] = {}
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            self.types[family.name] = family.type
            for sample in family.samples:
                self.samples[sample.name, frozenset(sample.labels.items())] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        """Return the value of a sample, less what it was in the scrape before; NaN: there is no such sample."""
        value = self.samples.get((name, frozenset(labels.items())), nan)
        if self._before is None:
            return value
        return value - self._before.samples.get((name, frozenset(labels.items())), 0.0)

    def labels(self, name: str) -> list[Mapping[str, str]]:
        """Return the labels of each sample of this name."""
        return [dict(labels) for found, labels in self.samples if found == name]


@contextmanager
def grows(process: Process, name: str, **labels: str) -> Generator[None]:
    """Check that what this process has counted under a name has grown by the end of the block."""
    before = counted(process)
    yield
    assert counted(process, before)(name, **labels) > 0, name


def counted(process: Process, before: Scraped | None = None) -> Scraped:
    """Return what this process has counted, without any gauge."""
    text, _ = Exposition(process, dict).write("")
    return Scraped(text.decode(), before)
