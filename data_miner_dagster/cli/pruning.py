"""The command `prune`: remove old history from Dagster's storage."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from data_miner_dagster.cli.options import ConfigOption, RootOption, opened_existing
from data_miner_dagster.cli.output import echo

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)([hdw])")
_HOURS: Final = {"h": 1, "d": 24, "w": 168}


def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", help="Remove history older than this, such as 30d, 12h or 2w.")
    ] = "30d",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, without removing anything.")
    ] = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove old runs, ticks and logs from Dagster's storage.

    The latest materialization of each partition stays, with its metadata and checks, so the UI shows the same state.
    Runs in flight stay too. `data-miner up` prunes once a day (`platform.storage.history_days`).
    """
    from data_miner_dagster.cli.dagster_history import open_history
    from data_miner_dagster.history.pruning import prune_history, would_prune
    from data_miner_dagster.housekeeping import OURS

    age = parse_age(older_than)
    with open_history(opened_existing(root, config)) as instance:
        if instance is None:
            echo("Dagster has no history yet")
            return
        now = datetime.now(UTC)
        if dry_run:
            echo(would_prune(instance, OURS, age, now=now).line(would=True))
            return
        pruned = prune_history(instance, OURS, age, now=now)
    echo(pruned.line())
    for database in pruned.in_use:
        echo(f"{database} is in use, so its file did not shrink; run the same command again once no run is in flight")


def parse_age(text: str) -> timedelta:
    """Return the duration that a string such as `30d`, `12h` or `2w` stands for.

    Raises:
        ConfigError: `text` is not a duration, or is more than a hundred years.
    """
    from data_miner_dagster.domain.errors import ConfigError

    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"--older-than {text!r} is not an age; write a number followed by h, d or w, such as 30d")
    hours = float(found[1]) * _HOURS[found[2]]
    if hours > 24 * 36_500:
        raise ConfigError(f"--older-than {text!r} is more than a hundred years; give a shorter age, such as 30d")
    return timedelta(hours=hours)
