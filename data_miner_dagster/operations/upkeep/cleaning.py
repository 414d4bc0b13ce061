"""What takes room under a root and could be removed without loss: counted, and removed when a person asks for it.

Belongs here: counts and requests. Does not belong here: what may go, and how (operations/room.py).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from data_miner_dagster.catalog.room import count_removable_sources
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.room import Removable, Room


class RemovableKind(StrEnum):
    """What can be made or downloaded again."""

    SOURCES = "sources"
    FRAMES = "frames"
    CACHES = "caches"


@dataclass(frozen=True, slots=True)
class RoomOverview:
    """What takes room under a root, in bytes. Without a quota, what is beside videos and frames is not measured."""

    quota: int | None
    sources: int
    frames: int
    rest: int | None
    promised: int  # to downloads under way
    num_removable_sources: int
    removable_sources: int


def room_overview(platform: Platform) -> RoomOverview:
    """Return what takes room. Reads no file without a quota."""
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
    """Return what could be removed, whatever the policies say. Changes nothing."""
    room = Room(platform)
    room.usage()  # measures frames that an earlier version made
    found = {
        RemovableKind.SOURCES: room.removable_sources,
        RemovableKind.FRAMES: room.removable_frames,
        RemovableKind.CACHES: room.removable_caches,
    }
    return {kind: list(found[kind]()) for kind in RemovableKind if kind in kinds}
