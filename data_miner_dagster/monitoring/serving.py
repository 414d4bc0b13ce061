"""A read-only HTTP server that offers the metrics to Prometheus, in its text format or as OpenMetrics."""

import logging
import socket
from collections.abc import Iterator

import uvicorn
from prometheus_client.asgi import make_asgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as ClientCollector
from prometheus_client.registry import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.monitoring.collecting import Collector
from data_miner_dagster.monitoring.families import FAMILIES, PREFIX, Family

METRICS_PATH = "/metrics"
HEALTH_PATH = "/-/healthy"
"""The path for health checks, which is answered without reading the catalog."""


class _Exported(ClientCollector):
    """Converts the values of a collector to metrics of the client library."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._rising = RisingValues()

    def collect(self) -> Iterator[Metric]:
        """Yield each metric that has a value."""
        by_name = self._collector.values().by_name
        for name, family in FAMILIES.items():
            values = by_name.get(name)
            if values:
                yield self._metric(family, values)

    def _metric(self, family: Family, values: dict[tuple[str, ...], float]) -> Metric:
        kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
        metric = kind(f"{PREFIX}{family.name}", family.meaning, labels=family.labels)
        for labels, value in sorted(values.items()):
            shown = value if family.kind == "gauge" else self._rising.risen(family.name, labels, value)
            metric.add_metric([printable(label) for label in labels], shown)
        return metric


class RisingValues:
    """Keeps counters from decreasing when videos and projects are deleted from the catalog along with their costs."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, tuple[str, ...]], float] = {}
        self._lost: dict[tuple[str, tuple[str, ...]], float] = {}

    def risen(self, name: str, labels: tuple[str, ...], value: float) -> float:
        """Return a counter's value plus the sum of all its decreases since this process started."""
        key = name, labels
        self._lost[key] = self._lost.get(key, 0.0) + max(0.0, self._last.get(key, value) - value)
        self._last[key] = value
        return value + self._lost[key]


def metrics_registry(collector: Collector) -> CollectorRegistry:
    """Return a registry of the client library that contains only the metrics of `collector`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Exported(collector))
    return registry


def metrics_application(registry: CollectorRegistry) -> Starlette:
    """Return the web application, which serves `/metrics` for GET and HEAD, a health check, and a start page."""
    exposed = make_asgi_app(registry)

    def healthy(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    def start(_: Request) -> PlainTextResponse:
        return PlainTextResponse(f"metrics of data-miner: {METRICS_PATH}\n")

    return Starlette(
        routes=[
            Route("/", start),
            Route(HEALTH_PATH, healthy),
            Route(METRICS_PATH, _ForReading(exposed), methods=["GET"]),  # and therefore HEAD
        ]
    )


class _ForReading:
    """Wraps an ASGI function in an object, since Starlette would call a function as a handler of requests."""

    def __init__(self, application: object) -> None:
        self._application = application

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        await self._application(scope, receive, send)  # type: ignore[operator]


def metrics_server(registry: CollectorRegistry) -> uvicorn.Server:
    """Return a web server for `registry`, not yet started. It does not log requests.

    Uvicorn's own messages below level WARNING are turned off in this process.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return uvicorn.Server(
        uvicorn.Config(
            metrics_application(registry),
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=20,
            timeout_graceful_shutdown=3,
            timeout_keep_alive=60,
            ws="none",
        )
    )


def listening(host: str, port: int) -> socket.socket:
    """Return a TCP socket that listens on `host` and `port`.

    Raises:
        OSError: the port is in use, or the address is not available.
    """
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
