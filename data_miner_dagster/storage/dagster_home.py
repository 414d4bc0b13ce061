"""Paths under DAGSTER_HOME, which may be outside the root. Paths under the root are in layout.py."""

from pathlib import Path


def registered_files(home: Path) -> Path:
    """Return the path of the file that lists the project files that a running `data-miner up` has registered."""
    return home / "registered_files.json"


def dagster_history_files(home: Path, run_id: str | None = None) -> list[Path]:
    """Return the paths of the three SQLite files that Dagster's processes share: runs, index and schedules.

    If `run_id` is given, the files are instead the three that this run writes: runs, index, and its own events.
    """
    history = home / "history"
    of_all = [history / "runs.db", history / "runs" / "index.db"]
    return [*of_all, home / "schedules" / "schedules.db" if run_id is None else history / "runs" / f"{run_id}.db"]
