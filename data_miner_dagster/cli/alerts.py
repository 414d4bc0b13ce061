"""The `data-miner alerts` commands: list current alerts, and send a test message to the targets."""

from typing import Annotated

import typer

from data_miner_dagster.cli.options import ConfigOption, JsonOption, RootOption, opened, opened_existing
from data_miner_dagster.cli.output import echo, print_json, print_table

app = typer.Typer(
    name="alerts", help="Show what is wrong and who is notified, or send a test message.", no_args_is_help=True
)


@app.command("test")
def tell_targets(
    target: Annotated[
        list[str] | None, typer.Argument(help="env:NAME or file:PATH. Default: all of platform.alerts.targets.")
    ] = None,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Send a test message to each target. Exits with status 1 if a message could not be delivered."""
    from data_miner_dagster.domain.errors import ConfigError, DataMinerError
    from data_miner_dagster.operations.alerting.sending import send

    platform = opened(root, config)
    settings = platform.config.alerts
    targets = target or settings.targets
    if not targets:
        raise ConfigError("platform.alerts.targets is empty; write env:NAME or file:PATH of an Apprise URL there")
    num_failed = 0
    for one in targets:
        try:
            line = f"Nothing is wrong: this is a test message ({platform.root})."
            send(one, "data-miner: test", line, is_over=True, timeout_seconds=settings.timeout_seconds)
        except DataMinerError as error:
            num_failed += 1
            echo(f"{one}: {error}", err=True)
        else:
            echo(f"{one}: told")
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
        print_table(["what", "since", "told", "why"], cells)
    elif platform.config.alerts.targets:
        echo("nothing is wrong")
    else:
        echo("platform.alerts.targets is empty, so nothing is watched")
    if num_messages:
        echo(f"{num_messages} messages were not accepted yet, and will be retried")
