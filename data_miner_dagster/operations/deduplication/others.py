"""Read the frames of other projects and of releases. They precede a project's own frames, which may duplicate them.

Frames that no longer exist, because a video was forgotten or a release or project was deleted, are left out. They are
counted, except for the frames of deleted projects. A name that never existed is a mistake and is refused before any
work.

Belongs here: reading and naming these frames. Does not belong here: decisions.
"""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.domain.errors import ConfigError, DamagedFileError, PermanentError
from data_miner_dagster.domain.reasons import DuplicateTier
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.export.parquet import images_table
from data_miner_dagster.operations.comparisons import folder_of_release, no_release, was_released
from data_miner_dagster.operations.deduplication.frames import (
    KEY_COLUMNS,
    PICTURE_COLUMNS,
    stacked,
    with_pictures,
    without_videos,
)
from data_miner_dagster.operations.item_faults import ItemFault, item_guard
from data_miner_dagster.operations.left_out import VideosLeftOutError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.by_video import runs_of
from data_miner_dagster.storage.frames import has_frames, read_frames
from data_miner_dagster.storage.tables import read_fingerprint, read_table

_KEY_SCHEMA: Final = pa.schema([FRAMES_SCHEMA.field(name) for name in KEY_COLUMNS])
_FOREIGN_SCHEMA: Final = pa.schema(
    [*(FRAMES_SCHEMA.field(name) for name in PICTURE_COLUMNS), pa.field("foreign_tier", pa.string(), nullable=False)]
)
_GONE: Final = "gone"


def foreign_frames(
    platform: Platform, config: DeduplicationConfig, left_out: Collection[str] = ()
) -> tuple[pa.Table, int]:
    """Return the representatives of other projects and the images of releases, and the number of missing frames.

    Columns are `PICTURE_COLUMNS` and `foreign_tier`. Each frame occurs once. Frames of projects come before frames of
    releases, each in order of the frame id. Frames that no longer exist count as missing, as do all images of a deleted
    release. The frames of deleted projects are not counted. Frames of videos in `left_out` are omitted.

    Raises:
        VideosLeftOutError: the frames of videos not in `left_out` cannot be read.
        PermanentError: the images table of a release is damaged.
        DamagedFileError: the deduplicated table of another project, or the frame table of a video, is damaged.
    """
    in_projects = _each_once(list(_of_projects(platform, config)))
    in_releases = _each_once(list(_of_releases(platform, config)))
    in_releases = in_releases.filter(
        pc.invert(pc.is_in(in_releases["frame_id"], in_projects["frame_id"].combine_chunks()))
    )
    num_gone = sum(
        row.num_images
        for release in config.against_releases
        if not images_table(folder_of_release(platform, release)).exists()
        for row in find_releases(platform.database, release.partition("/")[0])
        if row.version == release.partition("/")[2]
    )
    parts = []
    for frames, tier in ((in_projects, DuplicateTier.OTHER_PROJECT), (in_releases, DuplicateTier.EARLIER_RELEASE)):
        present = _present(platform, without_videos(frames, left_out))
        num_gone += len(frames) - len(present)
        pictures = with_pictures(platform, present).select(PICTURE_COLUMNS)
        tiers = pa.array([tier.value] * len(present), pa.string())
        parts.append(pictures.append_column("foreign_tier", tiers).cast(_FOREIGN_SCHEMA))
    return pa.concat_tables(parts).combine_chunks(), num_gone


def foreign_fingerprints(platform: Platform, project: str, config: DeduplicationConfig) -> dict[str, str]:
    """Return the fingerprint of each project and release to compare with, by name, or "gone" if it was deleted.

    The fingerprint of a release is its name. If a video in these projects and releases no longer has frames, the entry
    `gone/<video key>` is added.

    Raises:
        ConfigError: a project has not been deduplicated, a release never existed, or projects refer to each other.
        PermanentError: the images table of a release is damaged.
    """
    fingerprints: dict[str, str] = {}
    for other in config.against_projects:
        _check_no_circle(platform, project, other)
        if find_project(platform.database, other) is None:
            fingerprints[other] = _GONE
            continue
        fingerprint = read_fingerprint(platform.layout.deduplicated_table(other))
        if fingerprint is None:
            raise ConfigError(
                f"deduplication.against_projects of {project} names {other!r}, which has not been deduplicated; "
                f"run `data-miner run --config FILE` with the project file of {other} first"
            )
        fingerprints[other] = fingerprint
    for release in config.against_releases:
        if images_table(folder_of_release(platform, release)).exists():
            fingerprints[release] = release  # releases are immutable
        elif was_released(platform, release):
            fingerprints[release] = _GONE
        else:
            raise no_release(platform, project, release)
    gone = [
        key
        for table in (*_of_projects(platform, config), *_of_releases(platform, config))
        for key in pc.unique(table["video_key"]).to_pylist()
        if not has_frames(platform.layout, key)
    ]
    return fingerprints | {f"{_GONE}/{key}": _GONE for key in gone}


def foreign_videos(platform: Platform, config: DeduplicationConfig) -> set[str]:
    """Return the keys of all videos, in other projects and releases, whose frames a project is compared with.

    Raises:
        PermanentError: the images table of a release is damaged.
    """
    tables = (*_of_projects(platform, config), *_of_releases(platform, config))
    return {key for table in tables for key in pc.unique(table["video_key"]).to_pylist()}


def _of_projects(platform: Platform, config: DeduplicationConfig) -> Iterator[pa.Table]:
    """Yield a table of representatives for each project to compare with, if the project exists and is deduplicated."""
    for other in config.against_projects:
        path = platform.layout.deduplicated_table(other)
        if find_project(platform.database, other) is not None and path.exists():
            decided = read_table(path, [*KEY_COLUMNS, "is_representative"])
            yield decided.filter(decided["is_representative"]).select(KEY_COLUMNS)


def _of_releases(platform: Platform, config: DeduplicationConfig) -> Iterator[pa.Table]:
    """Yield a table of images for each release to compare with, if the release still exists."""
    for release in config.against_releases:
        path = images_table(folder_of_release(platform, release))
        if path.exists():
            try:
                yield read_table(path, KEY_COLUMNS)
            except DamagedFileError as error:  # nothing can recreate the table
                raise PermanentError(
                    f"frames cannot be compared with release {release}, because {path} is damaged; restore the file "
                    "from a backup, or remove the release from deduplication.against_releases"
                ) from error


def _present(platform: Platform, frames: pa.Table) -> pa.Table:
    """Return the frames that still exist, sorted by frame id.

    Raises:
        VideosLeftOutError: the frames of some videos cannot be read.
        OutageError, SystematicFaultError: all videos (at least three), or ten in a row, fail with the same error.
        DamagedFileError: the frame table of a video is damaged.
    """
    frames = frames.sort_by("frame_id").combine_chunks()
    parts = [_KEY_SCHEMA.empty_table()]
    faults: dict[str, ItemFault] = {}
    with item_guard("deduplicated_frames") as guard:
        for video_key, start, stop in runs_of(frames["video_key"].combine_chunks()):
            read = partial(_present_of, platform, video_key, frames.slice(start, stop - start))
            part = guard.attempt(video_key, read, partial(faults.__setitem__, video_key))
            parts += [] if part is None else [part]
    if faults:
        raise VideosLeftOutError(faults)
    return stacked(parts)


def _present_of(platform: Platform, video_key: str, frames: pa.Table) -> pa.Table:
    if not has_frames(platform.layout, video_key):
        return frames.slice(0, 0)
    there = read_frames(platform.layout, video_key, ["frame_id"])["frame_id"].combine_chunks()
    return frames.filter(pc.is_in(frames["frame_id"], there))


def _each_once(tables: Sequence[pa.Table]) -> pa.Table:
    return stacked([_KEY_SCHEMA.empty_table(), *tables]).group_by(list(KEY_COLUMNS)).aggregate([])


def _check_no_circle(platform: Platform, project: str, other: str) -> None:
    # If two projects referred to each other, each new result of one would make the other stale.
    seen: set[str] = set()
    open_names = [other]
    while open_names:
        name = open_names.pop()
        if name == project:
            raise ConfigError(
                f"deduplication.against_projects of {project} names {other}, whose own list leads back to {project}; "
                f"remove {other} from the list of {project}"
            )
        if name not in seen and find_project(platform.database, name) is not None:
            seen.add(name)
            open_names += platform.project_config(name).deduplication.against_projects
