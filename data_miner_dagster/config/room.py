"""The space that a root may use, and what is removed for it. Platform-wide: all projects share videos and frames."""

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
        raise ValueError(f"{value!r} is not a size; write a number of bytes, or one like 200GB or 1.5TB")
    number, unit, binary = match.groups()
    return round(float(number) * (1024 if binary else 1000) ** _POWERS[unit.lower()])


SizeBytes = Annotated[int, BeforeValidator(_bytes_of)]
"""A number of bytes, or a text such as `200GB`, `1.5TB` or `500MiB`."""


class RoomConfig(ConfigModel):
    """The `platform.room` section. No setting changes a frame, an annotation or a release."""

    quota: Annotated[SizeBytes, Field(gt=0)] | None = None
    """How much everything under the root may take: a number of bytes, or a size such as `200GB`. A download begins
    only within it, so the root takes at most the quota and one video. null: no limit; nothing is removed for room."""
    over_quota: Literal["one_at_a_time", "wait"] = "one_at_a_time"
    """When what must stay (frames that projects need, tables, releases) takes more than the quota. `one_at_a_time`: one
    video is downloaded, extracted and removed after another. `wait`: nothing is downloaded until there is room."""
    source_videos: Literal["always", "when_room", "until_extracted"] = "when_room"
    """How long to keep the file of a video whose frames exist. `when_room`: until the quota needs its room, oldest
    first. `until_extracted`: remove it at once. It is downloaded again when its frames have to be made again."""
    unneeded_frames: Literal["always", "when_room"] = "when_room"
    """How long to keep frames that no project, release or copy of the catalog needs."""
    caches: Literal["always", "when_room"] = "when_room"
    """How long to keep embeddings of encoders and videos that no project or release needs."""
