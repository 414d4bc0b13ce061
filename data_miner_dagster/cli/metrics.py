"""The command `metrics`: serve the platform's own metrics to Prometheus."""

from typing import Annotated

import typer

from data_miner_dagster.cli.options import ConfigOption, RootOption, opened_existing
from data_miner_dagster.cli.output import echo
from data_miner_dagster.cli.ports import check_port
from data_miner_dagster.domain.lasting_objects import creating_lasting_objects


def metrics(
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=1,
            max=65535,
            help="The port to listen on. Default: platform.monitoring.metrics_port, or 9464.",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="The address to listen on. Default: platform.monitoring.metrics_host.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the metrics once instead of serving them.")] = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Serve metrics to Prometheus at /metrics until Ctrl-C.

    The metrics describe queues, pools, closed stages, costs, projects, the disk and the GPU.
    """
    from data_miner_dagster.config.monitoring import METRICS_PORT
    from data_miner_dagster.domain.errors import ConfigError

    platform = opened_existing(root, config)
    try:
        with creating_lasting_objects():
            from prometheus_client import exposition

            from data_miner_dagster.monitoring.dagster_values import DagsterValues
            from data_miner_dagster.monitoring.serving import METRICS_PATH, listening, metrics_registry, metrics_server
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"metrics need the package {error.name!r}, which is missing; run "
            "`pip install 'data-miner-dagster[monitoring]'` to install it"
        ) from None
    from data_miner_dagster.monitoring.collecting import Collector

    of_dagster = DagsterValues(platform)
    registry = metrics_registry(Collector(platform, {"dagster": of_dagster}))
    try:
        if once:
            echo(exposition.generate_latest(registry).decode().removesuffix("\n"))
            return
        settings = platform.config.monitoring
        port, host = port or settings.metrics_port or METRICS_PORT, host or settings.metrics_host
        check_port(host, port)
        with listening(host, port) as opened:
            shown = f"[{host}]" if ":" in host else host
            echo(f"metrics are served at http://{shown}:{port}{METRICS_PATH} (press Ctrl-C to stop)", err=True)
            metrics_server(registry).run(sockets=[opened])
    finally:
        of_dagster.close()
