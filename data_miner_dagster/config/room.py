"""Settings for the disk space that a root may use, and for the files to remove when space runs out.

They are platform-wide because all projects share videos and frames.
"""

import re
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from data_miner_dagster.config.base import ConfigModel

_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?\s*", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def _bytes_of(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not a size; write a number of bytes, or a size such as 200GB or 1.5TB")
    number, unit, binary = match.groups()
    return round(float(number) * (1024 if binary else 1000) ** _POWERS[unit.lower()])


SizeBytes = Annotated[int, BeforeValidator(_bytes_of)]
"""A number of bytes, or a string such as `200GB`, `1.5TB` or `500MiB`."""


class RoomConfig(ConfigModel):
    """The `platform.room` section. None of these settings changes a frame, an annotation or a release."""

    quota: Annotated[SizeBytes, Field(gt=0)] | None = None
    """The space that all files under the root may use: a number of bytes, or a size such as `200GB`. A download starts
    if the files, with the frames that are still expected, fill at most 90 % of the quota. Otherwise, `over_quota`
    applies. null: there is no limit, and nothing is removed to free space."""
    over_quota: Literal["one_at_a_time", "wait"] = "one_at_a_time"
    """The behaviour if the files that must stay (frames that projects need, tables, releases) leave no room for another
    video under the quota. `one_at_a_time`: exceed the quota, and download, extract and remove one video after another.
    `wait`: download nothing until there is space."""
    source_videos: Literal["always", "when_room", "until_extracted"] = "when_room"
    """How long to keep a video's file after its frames were extracted. `always`: forever. `when_room`: until the quota
    requires its space, the least recently changed video first. `until_extracted`: remove it immediately. A removed file
    is downloaded again if its frames have to be recreated."""
    unneeded_frames: Literal["always", "when_room"] = "when_room"
    """How long to keep frames that no project, release or copy of the catalog needs. `always`: forever. `when_room`:
    until the quota requires their space."""
    caches: Literal["always", "when_room"] = "when_room"
    """How long to keep embeddings of encoders and videos that no project or release needs. `always`: forever.
    `when_room`: until the quota requires their space."""
