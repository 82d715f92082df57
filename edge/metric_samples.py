"""How the last beats of a service become Prometheus samples, at each scrape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from edge.detector.stage_times import BOUNDS_MS, COUNT, STAGES, bucket_name, counter_names, sum_name
from edge.health import Health
from edge.heart import ServiceName
from edge.messages import Beat, ServiceState
from edge.metrics import (
    BUILD,
    EVENTS,
    LAST_SEQ,
    LOOP_SILENCE,
    RECIPE,
    SERIES,
    STAGE,
    STATE,
    SUMMARIES,
    Labels,
    Metric,
    Series,
)

_DISTRIBUTION = "alfa-inspector"
_MS_PER_S = 1e3
_US_PER_S = 1e6
_IN_OTHER_KINDS = {*counter_names(), *(name for pair in SUMMARIES.values() for name in pair)}
Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily | SummaryMetricFamily


class ServiceCollector(Collector):
    """Reads a service's last beats each time that it is scraped; from any thread.

    Args:
        service: whose beats they are.
        health: where they are.
    """

    def __init__(self, service: ServiceName, health: Health) -> None:
        self._service = service
        self._health = health

    def collect(self) -> Iterator[Family]:
        """All metrics that have samples now."""
        beats = self._health.beats()
        values: defaultdict[Metric, dict[Labels, float]] = defaultdict(dict)
        values[BUILD][self._service, _version()] = 1
        values[LOOP_SILENCE][(self._service,)] = self._health.silence_s
        for heart in self._health.hearts:
            if heart.about:
                labels = tuple(heart.about.get(name, "") for name in RECIPE.labels[1:])
                values[RECIPE][heart.line, *labels] = 1
        # The newest last: what is of the whole service stands in every line's beat.
        for beat in sorted(beats, key=lambda beat: beat.wall_ns):
            _take(beat, values)
        for metric, samples in values.items():
            yield _plain_family(metric, samples)
        yield from _summaries(beats)
        yield from _stages(beats)


def _take(beat: Beat, values: Mapping[Metric, dict[Labels, float]]) -> None:
    values[LAST_SEQ][beat.service, beat.line] = beat.last_seq
    for state in ServiceState:
        values[STATE][beat.service, beat.line, str(state)] = state is beat.state
    for counter, value in beat.counters.items():
        if counter in _IN_OTHER_KINDS:
            continue
        series = SERIES[beat.service].get(counter, Series(EVENTS, (counter,)))
        own = {"service": beat.service, "line": beat.line}
        labels = (*(own[name] for name in series.metric.labels if name in own), *series.labels)
        values[series.metric][labels] = value


def _plain_family(metric: Metric, samples: Mapping[Labels, float]) -> Family:
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples.items():
        family.add_metric(labels, value)
    return family


def _summaries(beats: Sequence[Beat]) -> Iterator[Family]:
    """Of the newest beat, as these are of the whole service."""
    newest = max(beats, key=lambda beat: beat.wall_ns, default=None)
    for metric, (count, sum_us) in SUMMARIES.items():
        if newest is not None and count in newest.counters:
            family = SummaryMetricFamily(metric.name, metric.help)
            family.add_metric((), newest.counters[count], newest.counters[sum_us] / _US_PER_S)
            yield family


def _stages(beats: Iterable[Beat]) -> Iterator[Family]:
    family = HistogramMetricFamily(STAGE.name, STAGE.help, labels=STAGE.labels)
    for beat in beats:
        if COUNT in beat.counters:
            for stage in STAGES:
                total_s = beat.counters[sum_name(stage)] / _US_PER_S
                family.add_metric((beat.line, stage), _buckets(beat.counters, stage), total_s)
    if family.samples:
        yield family


def _buckets(counters: Mapping[str, int], stage: str) -> list[tuple[str, float]]:
    """Cumulative, as the beat's are already; the last one holds all."""
    bounded = [(str(bound / _MS_PER_S), float(counters[bucket_name(stage, bound)])) for bound in BOUNDS_MS]
    return [*bounded, ("+Inf", float(counters[COUNT]))]


def _version() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
