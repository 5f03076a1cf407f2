"""docs/metrics.md has every metric as the table of the code has it."""

import re

import msgspec

from tests.support.markdown import ROOT
from turnwire.shared.metric_names import METRICS, Metric
from turnwire.shared.settings import Settings
from turnwire.worker.pool.probes import WorkerHealth

PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |"


def test_each_metric_has_its_row_below_the_process_that_exports_it():
    both, rest = PAGE.partition("## In both processes")[2].split("## In the API\n")
    api, worker = rest.split("## In a worker\n")
    for metric in METRICS:
        section = both if len(metric.processes) == 2 else api if metric.processes == ("api",) else worker
        assert row(metric) in section.splitlines(), metric.name
    assert len(re.findall(r"^\| `turnwire_", PAGE, re.MULTILINE)) == len(METRICS)


def test_the_page_names_the_settings_and_the_fields_of_the_probes():
    settings = [name for name in Settings.__struct_fields__ if name.startswith("metrics_")]
    assert [name for name in settings if f"`TURNWIRE_{name.upper()}" not in PAGE] == []
    fields = [field.name for field in msgspec.structs.fields(WorkerHealth)]
    assert [name for name in fields if f"`{name}`" not in PAGE] == []
