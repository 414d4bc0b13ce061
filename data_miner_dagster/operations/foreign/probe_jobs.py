"""The proof of a video, as workers do it: those of `extraction/jobs.py`, and those beside the ones that fetch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_miner_dagster.media.probe import probe_video


def probe(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what a file proves to be."""
    return asdict(probe_video(Path(arguments["path"]), max_pixels=arguments["max_pixels"]))
