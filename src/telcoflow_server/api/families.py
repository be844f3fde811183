"""Numbers as Prometheus knows them: gauges, counters, histograms.

Not here: whose numbers (`metrics.py`, `phone_metrics.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from telcoflow_server.call.accounts import Distribution


def gauge(name: str, what: str, label: str | None, values: Mapping[str, float] | float) -> Metric:
    """Return a gauge, with one label or none."""
    if not isinstance(values, Mapping):
        return GaugeMetricFamily(name, what, value=values)
    family = GaugeMetricFamily(name, what, labels=[label or ""])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def counter(
    name: str,
    what: str,
    labels: tuple[str, ...],
    values: Mapping[tuple[str, ...], float] | float,
) -> Metric:
    """Return a counter; the library adds `_total` to its name."""
    if not isinstance(values, Mapping):
        return CounterMetricFamily(name, what, value=values)
    family = CounterMetricFamily(name, what, labels=labels)
    for of_labels, number in values.items():
        family.add_metric(of_labels, number)
    return family


def histogram(name: str, what: str, values: Distribution) -> Metric:
    """Return a histogram as it stands."""
    buckets = [
        ("+Inf" if bound == float("inf") else str(bound), count)
        for bound, count in values.cumulative()
    ]
    return HistogramMetricFamily(name, what, buckets=buckets, sum_value=values.total)
