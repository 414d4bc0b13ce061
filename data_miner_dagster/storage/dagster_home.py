"""Paths under DAGSTER_HOME, which may be outside the root. Paths under the root are in layout.py."""

from pathlib import Path


def registered_files(home: Path) -> Path:
    """Return the path of the file that lists the project files registered by a session of `data-miner up`."""
    return home / "registered_files.json"


def dagster_history_files(home: Path, run_id: str | None = None) -> list[Path]:
    """Return the paths of Dagster's SQLite files that a run writes, or of the shared files if no run is given."""
    history = home / "history"
    of_all = [history / "runs.db", history / "runs" / "index.db"]
    return [*of_all, home / "schedules" / "schedules.db" if run_id is None else history / "runs" / f"{run_id}.db"]
