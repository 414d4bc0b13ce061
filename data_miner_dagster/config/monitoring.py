"""What a platform reports about itself: metrics for Prometheus, and messages when something is wrong."""

from typing import Annotated, Final

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.downloading import Reference
from data_miner_dagster.config.room import SizeBytes

METRICS_HOST: Final = "127.0.0.1"
METRICS_PORT: Final = 9464
"""The port that exporters of OpenTelemetry use for Prometheus."""


class MonitoringConfig(ConfigModel):
    """The `platform.monitoring` section."""

    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """The port on which `data-miner up` serves metrics for Prometheus. null: it serves none. `data-miner metrics` uses
    this port, or else 9464."""
    metrics_host: str = METRICS_HOST
    """The address that metrics are served at. Anyone who reaches it can read them, but change nothing."""


class AlertsConfig(ConfigModel):
    """The `platform.alerts` section. Without targets nothing is watched."""

    targets: tuple[Reference, ...] = ()
    """Who is notified, each as `env:NAME` or `file:PATH` of an Apprise URL, such as `jsons://host/path` for a webhook
    or `mailtos://user:password@example.org`."""
    stage_closed_minutes: float = Field(default=15, ge=0)
    """Tell of a stage, or of a site, that has been closed for this long."""
    stalled_minutes: float = Field(default=60, gt=0)
    """Tell when work has been due for this long and nothing has been done meanwhile."""
    min_free_bytes: Annotated[SizeBytes, Field(ge=0)] = 5_000_000_000
    """Tell when less than this is free on the disk of the root: a number of bytes, or a size such as `5GB`."""
    timeout_seconds: float = Field(default=10, gt=0, le=60)
    """How long a target may take to connect, and again to answer."""
