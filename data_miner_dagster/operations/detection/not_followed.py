"""Record, in the metadata of a project's table of frames, the videos whose objects could not be followed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from data_miner_dagster.storage.tables import read_metadata

NOT_FOLLOWED_KEY: Final = "data_miner.not_followed"
"""The metadata key of a JSON object that maps video keys to the reasons why objects could not be followed."""


def as_metadata(failed: Mapping[str, str]) -> dict[str, str]:
    """Return metadata that records `failed`, which maps video keys to reasons. It is empty if `failed` is empty."""
    return {NOT_FOLLOWED_KEY: json.dumps(dict(sorted(failed.items())), ensure_ascii=False)} if failed else {}


def read_not_followed(detected_frames_table: Path) -> dict[str, str]:
    """Return the reasons why videos could not be followed, by video key."""
    reasons: dict[str, str] = json.loads(read_metadata(detected_frames_table).get(NOT_FOLLOWED_KEY, "{}"))
    return reasons
