"""Metrics: what a service says in its beats is what Prometheus reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from edge.detector.line import Line
from edge.detector.verdicts import Stamp
from edge.health import Health
from edge.heart import Heart, ServiceName
from edge.lifecycle import Lifecycle
from edge.messages import FaultReason, Result, ServiceState, Timings, Verdict
from edge.metric_samples import ServiceCollector
from edge.metrics import METRICS, SERIES

Sample = Callable[..., float | None]
SERVICES: tuple[ServiceName, ...] = ("camera", "detector", "results")


@pytest.fixture
def lifecycle() -> Iterator[Lifecycle]:
    """A service's."""
    with Lifecycle() as lifecycle:
        yield lifecycle


@pytest.fixture
def scrape(lifecycle: Lifecycle) -> Callable[..., Sample]:
    """`scrape(heart, ...)` is a look-up: `sample(name, label=value)` gives the value, or None."""

    def registered(*hearts: Heart) -> Sample:
        registry = CollectorRegistry()
        registry.register(ServiceCollector(hearts[0].service, Health(hearts, lifecycle)))
        return lambda name, **labels: registry.get_sample_value(name, labels)

    return registered


def test_names_are_told_apart() -> None:
    """A metric is in the table once, under this product's prefix and with its unit's or kind's ending."""
    names = [metric.name for metric in METRICS]
    assert max(Counter(names).values()) == 1
    for metric in METRICS:
        assert re.fullmatch(r"alfa_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") is (metric.kind == "counter")
        assert metric.help.endswith(".")


def test_every_series_is_in_the_table_and_has_its_labels() -> None:
    """Labels but for `service` and `line` come with the series."""
    for series in (each for of_service in SERIES.values() for each in of_service.values()):
        assert series.metric in METRICS
        own = [name for name in series.metric.labels if name not in ("service", "line")]
        assert len(series.labels) == len(own)


def test_counters_become_samples(scrape: Callable[..., Sample]) -> None:
    """Of the last beat, not of what was counted since."""
    heart = Heart("camera", "line1", 7, ServiceState.READY, last_seq=9)
    heart.counters.update(captured=10, sent=8, unreadable=2)
    heart.beat()
    heart.counters.update(captured=1)
    sample = scrape(heart)
    assert sample("alfa_camera_captured_total", line="line1") == 10
    assert sample("alfa_camera_unreadable_total", line="line1") == 2
    assert sample("alfa_last_seq", service="camera", line="line1") == 9


def test_the_state_is_one_of_all(scrape: Callable[..., Sample]) -> None:
    """1 for the present one, 0 for the others, so that a query finds either."""
    heart = Heart("detector", "line1", 7, ServiceState.PAUSED)
    heart.beat()
    sample = scrape(heart)
    values = {
        state: sample("alfa_state", service="detector", line="line1", state=str(state))
        for state in ServiceState
    }
    assert values == {state: float(state is ServiceState.PAUSED) for state in ServiceState}


def test_stage_times_become_a_histogram(scrape: Callable[..., Sample]) -> None:
    """Cumulative buckets in seconds, sum and count."""
    line = Line("line1", 1, Stamp("main", 0), history=10)
    for infer in (2.0, 20.0, 5000.0):
        verdict = Verdict(
            "line1", 1, 0, "", Result.OK, timings=Timings(infer=infer), score=0.0, threshold=1.0
        )
        line.published(verdict, [b"", b""])
    line.heart.beat()
    sample = scrape(line.heart)
    assert sample("alfa_stage_seconds_bucket", line="line1", stage="infer", le="0.003") == 1
    assert sample("alfa_stage_seconds_bucket", line="line1", stage="infer", le="0.03") == 2
    assert sample("alfa_stage_seconds_bucket", line="line1", stage="infer", le="+Inf") == 3
    assert sample("alfa_stage_seconds_count", line="line1", stage="infer") == 3
    assert sample("alfa_stage_seconds_sum", line="line1", stage="infer") == pytest.approx(5.022)
    assert sample("alfa_parts_total", service="detector", line="line1", result="OK") == 3


@pytest.mark.parametrize("reason", [reason for reason in FaultReason if reason])
def test_every_fault_reason_has_a_series(reason: FaultReason, scrape: Callable[..., Sample]) -> None:
    """From the start, at 0: what appears only with its first fault cannot be watched."""
    line = Line("line1", 1, Stamp("main", 0), history=10)
    line.heart.beat()
    assert scrape(line.heart)("alfa_faults_total", service="detector", line="line1", reason=reason) == 0
    line.published(Verdict("line1", 1, 0, "", Result.FAULT, fault=reason), [b"", b""])
    line.heart.beat()
    assert scrape(line.heart)("alfa_faults_total", service="detector", line="line1", reason=reason) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_a_counter_without_a_metric_of_its_own_is_not_missing(
    service: ServiceName, scrape: Callable[..., Sample]
) -> None:
    """It is exported under its own name."""
    heart = Heart(service, "line1", 7)
    heart.counters["something_new"] = 3
    heart.beat()
    assert scrape(heart)("alfa_events_total", service=service, line="line1", event="something_new") == 3


def test_what_is_of_the_whole_service_is_told_once(scrape: Callable[..., Sample]) -> None:
    """Every line's beat says it; the newest is right, and no sum over lines counts it again."""
    old, new = Heart("results", "line1", 7), Heart("results", "line2", 7)
    old.beat({"plc_reconnects": 1, "record_commits": 1, "record_commit_us": 1_000_000})
    new.beat({"plc_reconnects": 2, "record_commits": 4, "record_commit_us": 3_000_000})
    sample = scrape(new, old)
    assert sample("alfa_plc_reconnects_total") == 2
    assert sample("alfa_record_commit_seconds_count") == 4
    assert sample("alfa_record_commit_seconds_sum") == 3


def test_a_recipe_is_told_by_its_hashes(scrape: Callable[..., Sample]) -> None:
    """Nothing before one is in use, and the new one alone after a reload."""
    line = Line("line1", 1, Stamp("main", 0), history=10)
    stamps = [Stamp("main", 3, prompts=prompts, bank="b", model="m", calibration="c") for prompts in "xy"]

    def found(stamp: Stamp) -> float | None:
        names = ("recipe", "model", "prompts", "bank", "calibration")
        labels = {name: str(asdict(stamp)[name]) for name in names}
        return scrape(line.heart)("alfa_recipe_info", line="line1", **labels)

    assert found(stamps[0]) is None
    line.use(stamps[0])
    assert found(stamps[0]) == 1
    line.use(stamps[1])
    assert [found(stamp) for stamp in stamps] == [None, 1]


def test_no_sample_is_outside_the_table(lifecycle: Lifecycle) -> None:
    """Names, labels and kinds are those of the table."""
    line = Line("line1", 1, Stamp("main", 0), history=10)
    line.use(Stamp("main", 1))
    results = Heart("results", "line1", 1)
    results.beat(dict.fromkeys(("record_commits", "record_commit_us", "plc_requests", "plc_request_us"), 1))
    line.heart.beat()
    by_name = {name: metric for metric in METRICS for name in metric.sample_names()}
    for heart in (line.heart, results):
        registry = CollectorRegistry()
        registry.register(ServiceCollector(heart.service, Health([heart], lifecycle)))
        assert generate_latest(registry)
        for family in registry.collect():
            for sample in family.samples:
                metric = by_name[sample.name]
                assert family.type == metric.kind
                assert set(sample.labels) - {"le"} == set(metric.labels)
