"""The folder on this machine for fetched models, except hub models, and for files that are derived from models."""

import os
from pathlib import Path

from data_miner_dagster.config.environment import MODEL_CACHE_VARIABLE


def model_cache_folder() -> Path:
    """Return `$DATA_MINER_MODEL_CACHE` if it is set, or else `data_miner` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if configured := os.environ.get(MODEL_CACHE_VARIABLE):
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "data_miner"
