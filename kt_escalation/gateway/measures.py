"""A gateway's metrics as OpenMetrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from .tasks import AsyncGateway


class Measures:
    """Collects a gateway's metrics when a client asks for them."""

    def __init__(self, gateway: AsyncGateway) -> None:
        self._gateway = gateway

    def describe(self) -> list[Metric]:
        """No metrics are known before the gateway runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The current metrics."""
        now = self._gateway.metrics()
        yield GaugeMetricFamily("kt_gateway_held", "Requests that are held", value=now.held)
        yield GaugeMetricFamily(
            "kt_gateway_oldest_seconds", "How long the oldest of them is held", value=now.oldest
        )
        yield CounterMetricFamily("kt_gateway_raised", "Escalations that were raised", value=now.raised)
        decided = CounterMetricFamily(
            "kt_gateway_decided", "Decisions that were returned", labels=["outcome"]
        )
        for outcome, count in sorted(now.decided.items()):
            decided.add_metric([outcome], count)
        yield decided
        yield CounterMetricFamily(
            "kt_gateway_failures", "Fetches, commits and deadlines that failed", value=now.failures
        )
        yield CounterMetricFamily("kt_gateway_fetches", "Fetches from the remote", value=now.fetches)
