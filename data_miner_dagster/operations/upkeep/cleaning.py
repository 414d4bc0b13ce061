"""Count the files under a root that could be removed without loss, and list them for removal.

Belongs here: counts and lists. Does not belong here: deciding which files may be removed, or removing them
(operations/room.py).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from data_miner_dagster.catalog.room import count_removable_sources
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.room import Removable, Room


class RemovableKind(StrEnum):
    """A kind of file that can be recreated or downloaded again."""

    SOURCES = "sources"
    FRAMES = "frames"
    CACHES = "caches"


@dataclass(frozen=True, slots=True)
class RoomOverview:
    """The disk usage of a root, in bytes. Without a quota, only the usage of videos and frames is known."""

    quota: int | None
    sources: int
    frames: int
    rest: int | None  # all other files, or None without a quota
    promised: int  # reserved for downloads that are running
    num_removable_sources: int  # videos whose file could be removed
    removable_sources: int


def room_overview(platform: Platform) -> RoomOverview:
    """Return the disk usage of a root. Without a quota, the usage is read from the catalog, and no files are read."""
    room = Room(platform)
    usage = room.usage() if room.is_limited else None
    videos = usage.videos if usage is not None else room.videos()
    with platform.database.reading() as session:
        number, size_bytes = count_removable_sources(session)
    return RoomOverview(
        quota=platform.config.room.quota,
        sources=videos.sources,
        frames=videos.frames,
        rest=None if usage is None else usage.rest,
        promised=videos.promised,
        num_removable_sources=number,
        removable_sources=size_bytes,
    )


def find_removable(platform: Platform, kinds: Collection[RemovableKind]) -> Mapping[RemovableKind, list[Removable]]:
    """Return the files of `kinds` that could be removed, whether or not the settings allow it. No file is removed."""
    room = Room(platform)
    room.usage()  # measures frames that an earlier version extracted
    found = {
        RemovableKind.SOURCES: room.removable_sources,
        RemovableKind.FRAMES: room.removable_frames,
        RemovableKind.CACHES: room.removable_caches,
    }
    return {kind: list(found[kind]()) for kind in RemovableKind if kind in kinds}
