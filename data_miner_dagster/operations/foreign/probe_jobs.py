"""Verify a video, as a job in the workers of `extraction/jobs.py` and `site_jobs.py`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_miner_dagster.media.probe import probe_video


def probe(arguments: dict[str, Any]) -> dict[str, Any]:
    """Verify the video file at the `path` in `arguments`. Return the fields of its `ProbedVideo` as a mapping."""
    return asdict(probe_video(Path(arguments["path"]), max_pixels=arguments["max_pixels"]))
