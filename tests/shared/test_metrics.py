"""The table of metrics, the numbers behind it, and what a scrape gets of them."""

import asyncio
import re
import time
from pathlib import Path

import pytest

from tests.support.scraped import Scraped, counted
from tests.support.waiting import let_pass, wait_until
from turnwire import __version__
from turnwire.shared import loop_lag
from turnwire.shared.exposition import Exposition
from turnwire.shared.metric_names import BY_NAME, METRICS, Metric
from turnwire.shared.metrics import Counter, Histogram, counter, histogram

ROOT = Path(__file__).parents[2]
SOURCES = {
    path: path.read_text(encoding="utf-8")
    for room in ("api", "worker", "shared")
    for path in (ROOT / room).rglob("*.py")
}
UNITS = (
    "_seconds",
    "_jobs",
    "_turns",
    "_total",
    "_info",
    "_pending",
    "_tails",
    "_slots",
    "_workers",
    "_up",
    "_draining",
)
FORBIDDEN = {"session", "user", "run_id", "run", "key", "request_id", "path"}


def test_each_name_is_there_once_and_ends_with_its_unit():
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("turnwire_")
        assert metric.name.endswith(UNITS), metric.name
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert bool(metric.buckets) == (metric.kind == "histogram"), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_no_label_names_a_session_a_user_or_a_turn():
    assert {label for metric in METRICS for label in metric.labels} & FORBIDDEN == set()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_counted_or_read_by_some_module(metric: Metric):
    made = f'{metric.kind}("{metric.name}")' if metric.kind != "gauge" else f'"{metric.name}"'
    assert [path for path, text in SOURCES.items() if made in text and path.name != "metric_names.py"]


def test_each_counter_and_histogram_is_made_by_one_call_with_its_kind():
    for text in SOURCES.values():
        for kind, name in re.findall(r'\b(counter|histogram)\("(turnwire_\w+)"\)', text):
            assert BY_NAME[name].kind == kind


def test_a_counter_begins_with_0_for_all_values_that_the_table_knows():
    made = Counter(Metric("turnwire_x_total", "counter", "x", labels={"a": ("p", "q"), "b": ("r",)}))
    assert dict(made.values) == {("p", "r"): 0, ("q", "r"): 0}
    made.add("p", "r", amount=2.5)
    made.add("p", "r")
    assert made.values["p", "r"] == 3.5
    assert dict(Counter(Metric("turnwire_y_total", "counter", "y")).values) == {(): 0}
    assert dict(Counter(Metric("turnwire_z_total", "counter", "z", labels={"a": ()})).values) == {}


def test_a_histogram_counts_a_value_at_a_bound_below_it():
    made = Histogram(Metric("turnwire_x_seconds", "histogram", "x", buckets=(1, 2)))
    for value in (0.5, 1, 1.5, 3):
        made.observe(value)
    assert (made.counts, made.total) == ([2, 1, 1], 6.0)


def test_a_process_has_one_of_each():
    assert counter("turnwire_defects_total") is counter("turnwire_defects_total")
    assert histogram("turnwire_append_seconds") is histogram("turnwire_append_seconds")
    with pytest.raises(KeyError):
        counter("turnwire_unknown_total")


@pytest.mark.parametrize("process", ["api", "worker"])
def test_a_scrape_has_every_counter_and_histogram_of_its_process_and_no_other_one(process):
    scraped = counted(process)
    names = {
        metric.name.removesuffix("_total")
        for metric in METRICS
        if process in metric.processes and metric.kind != "gauge"
    }
    own = {name for name in scraped.types if name.startswith("turnwire_")}
    assert own == names | {"turnwire_build"} or own == names | {"turnwire_build_info"}
    assert scraped("turnwire_build_info", version=__version__) == 1
    assert scraped("python_info", **scraped.labels("python_info")[0]) == 1


def test_a_histogram_in_a_scrape_is_cumulative():
    before = counted("worker")
    for seconds in (0.0002, 0.02, 1000):
        histogram("turnwire_append_seconds").observe(seconds)
    after = counted("worker", before)
    assert after("turnwire_append_seconds_bucket", le="0.00025") == 1
    assert after("turnwire_append_seconds_bucket", le="0.025") == 2
    assert after("turnwire_append_seconds_bucket", le="+Inf") == 3
    assert after("turnwire_append_seconds_count") == 3
    assert after("turnwire_append_seconds_sum") == pytest.approx(1000.0202)


async def test_the_lag_of_an_event_loop_that_is_blocked(monkeypatch):
    monkeypatch.setattr(loop_lag, "LOOK_S", 0.01)
    before = counted("api")
    watching = asyncio.create_task(loop_lag.watch_lag())
    await let_pass(0)  # it has begun to wait
    until_s = time.monotonic() + 0.05
    while time.monotonic() < until_s:  # it blocks the loop
        pass
    await wait_until(lambda: counted("api", before)("turnwire_event_loop_lag_seconds_count") > 0, "a look")
    watching.cancel()
    assert counted("api", before)("turnwire_event_loop_lag_seconds_sum") >= 0.04


def test_gauges_are_read_at_each_scrape_and_labels_are_escaped():
    values = iter([1.0, 2.0])
    exposition = Exposition("worker", lambda: {"turnwire_slots": next(values)})
    strange = {"turnwire_queue_waiting_jobs": [(('a"b\\c\n', "t"), 7.0)]}
    assert Scraped(exposition.write("")[0].decode())("turnwire_slots") == 1
    scraped = Scraped(exposition.write("", strange)[0].decode())
    assert scraped("turnwire_slots") == 2
    assert scraped("turnwire_queue_waiting_jobs", pool='a"b\\c\n', tenant="t") == 7


def test_a_client_may_ask_for_the_format_of_openmetrics():
    exposition = Exposition("api", dict)
    text, media_type = exposition.write("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert media_type.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith(b"# EOF\n")
    assert exposition.write("*/*")[1].startswith("text/plain; version=0.0.4")
