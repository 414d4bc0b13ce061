"""The `data-miner alerts` commands: list the current alerts, and send a test message to the targets."""

from typing import Annotated

import typer

from data_miner_dagster.cli.options import ConfigOption, JsonOption, RootOption, opened, opened_existing
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.domain.phrases import counted

app = typer.Typer(
    name="alerts", help="List the current alerts, or send a test message to the targets.", no_args_is_help=True
)


@app.command("test")
def tell_targets(
    target: Annotated[
        list[str] | None,
        typer.Argument(help="A target, as env:NAME or file:PATH. Default: all platform.alerts.targets."),
    ] = None,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Send a test message to each target. The exit status is 1 if a message could not be delivered."""
    from data_miner_dagster.domain.errors import ConfigError, DataMinerError
    from data_miner_dagster.operations.alerting.sending import send

    platform = opened(root, config)
    settings = platform.config.alerts
    targets = target or settings.targets
    if not targets:
        raise ConfigError("platform.alerts.targets is empty; add the env:NAME or file:PATH that stores an Apprise URL")
    num_failed = 0
    for one in targets:
        try:
            line = f"This is a test message from {platform.root}. Nothing is wrong."
            send(one, "data-miner: test", line, is_over=True, timeout_seconds=settings.timeout_seconds)
        except DataMinerError as error:
            num_failed += 1
            echo(str(error) if one in str(error) else f"{one}: {error}", err=True)
        else:
            echo(f"{one}: notified")
    if num_failed:
        raise typer.Exit(1)


@app.command("list")
def list_alerts(json: JsonOption = False, root: RootOption = None, config: ConfigOption = None) -> None:
    """List the current alerts: what is wrong, since when, and when the targets were notified."""
    from data_miner_dagster.catalog.alerts import count_messages, find_alerts

    platform = opened_existing(root, config)
    with platform.database.reading() as session:
        rows, num_messages = find_alerts(session), count_messages(session)
    if json:
        found = [
            {
                "kind": row.kind.value,
                "subject": row.subject,
                "line": row.line,
                "since": row.since,
                "told_at": row.told_at,
            }
            for row in rows
        ]
        print_json({"alerts": found, "num_messages": num_messages})
        return
    if rows:
        dates = [f"{row.since:%Y-%m-%d %H:%M}" for row in rows]
        told = ["not yet" if row.told_at is None else f"{row.told_at:%Y-%m-%d %H:%M}" for row in rows]
        cells = [[row.kind.words(row.subject), *rest, row.line] for row, *rest in zip(rows, dates, told, strict=True)]
        print_table(["what", "since (UTC)", "notified (UTC)", "why"], cells)
    elif platform.config.alerts.targets:
        echo("there are no alerts")
    else:
        echo("platform.alerts.targets is empty, so nothing is monitored; add a target to be notified")
    if num_messages:
        number = counted(num_messages, "message has", "messages have")
        echo(f"{number} not been delivered yet; a running `data-miner up` retries the delivery for up to a day")
