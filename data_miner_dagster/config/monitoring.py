"""Settings for the metrics that Prometheus collects, and for alerts when something is wrong."""

from typing import Annotated, Final

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.downloading import Reference
from data_miner_dagster.config.room import SizeBytes

METRICS_HOST: Final = "127.0.0.1"
METRICS_PORT: Final = 9464
"""The default port for serving metrics, which OpenTelemetry's Prometheus exporters also use."""


class MonitoringConfig(ConfigModel):
    """The `platform.monitoring` section."""

    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """The port on which `data-miner up` serves metrics for Prometheus. null: it does not serve metrics. `data-miner
    metrics` uses this port, or 9464 if it is null."""
    metrics_host: str = METRICS_HOST
    """The address at which metrics are served. Anyone who can reach it can read the metrics, but cannot change
    anything."""


class AlertsConfig(ConfigModel):
    """The `platform.alerts` section. Without targets, nothing is monitored."""

    targets: tuple[Reference, ...] = ()
    """The targets to notify. Each is `env:NAME` or `file:PATH`, and the variable or file contains an Apprise URL, such
    as `jsons://host/path` for a webhook or `mailtos://user:password@example.org`."""
    stage_closed_minutes: float = Field(default=15, ge=0)
    """Send an alert when a stage or site has been closed for this long."""
    stalled_minutes: float = Field(default=60, gt=0)
    """Send an alert when work has been due for this long without any progress, or when downloads have been waiting for
    disk space for this long."""
    min_free_bytes: Annotated[SizeBytes, Field(ge=0)] = 5_000_000_000
    """Send an alert when less than this is free on the root's disk: a number of bytes, or a size such as `5GB`."""
    timeout_seconds: float = Field(default=10, gt=0, le=60)
    """The most time for connecting to a target, and, separately, the most time for its answer."""
