"""Read the frames that deduplication decides on, with the properties of their pictures.

Does not belong here: decisions, and the frames of other projects and of releases (others.py).
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.domain.reasons import DuplicateTier
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.models.provider import EncoderRole
from data_miner_dagster.operations.embedding.vectors import read_frame_vectors
from data_miner_dagster.operations.item_faults import ItemFault, item_guard
from data_miner_dagster.operations.left_out import VideosLeftOutError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.deduplication.appearances import Appearances, telling_hashes
from data_miner_dagster.stages.deduplication.distinctions import NOTHING_APART, Distinctions
from data_miner_dagster.stages.deduplication.leaders import Assignment, tiers_of
from data_miner_dagster.storage.alignment import check_unique, rows_of_ids
from data_miner_dagster.storage.by_video import runs_of
from data_miner_dagster.storage.frames import has_frames, read_frames
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster.storage.vectors import read_representatives

KEY_COLUMNS: Final = ("frame_id", "video_key", "frame_index")
PICTURE_COLUMNS: Final = (*KEY_COLUMNS, "sha256", "perceptual_hash", "contrast", "pts_seconds")
"""The columns that identify a frame and describe its picture, for frames of this project and of others."""


def kept_frames(platform: Platform, project: str, left_out: Collection[str] = ()) -> pa.Table:
    """Return the frames that filtering kept, with `PICTURE_COLUMNS` and the columns for `quality_order`, in id order.

    Args:
        platform: the platform of the project.
        project: the name of a project that has been filtered.
        left_out: the videos to leave out.

    Raises:
        VideosLeftOutError: the frames of videos not in `left_out` cannot be read, or have changed since filtering.
        PermanentError: the filtered table contains a frame twice.
        DamagedFileError: the filtered table, or the frame table of a video, is damaged.
    """
    filtered = read_table(platform.layout.filtered_table(project), [*KEY_COLUMNS, "positive_similarity", "is_kept"])
    kept = filtered.filter(filtered["is_kept"]).drop_columns(["is_kept"])
    return with_pictures(platform, without_videos(kept, left_out))


def without_videos(frames: pa.Table, left_out: Collection[str]) -> pa.Table:
    """Return the rows of all videos except those in `left_out`."""
    if not left_out:
        return frames
    return frames.filter(pc.invert(pc.is_in(frames["video_key"], pa.array(sorted(left_out), pa.string()))))


def representative_vectors(
    platform: Platform, project: str, encoder: EncoderRole, representatives: pa.Table, fingerprint: str
) -> npt.NDArray[np.float16]:
    """Return the (R, D) float16 vectors of a project's representatives, in the order of `representatives`.

    The vectors are read from the file beside the deduplicated table if that file has this `fingerprint` and contains
    all of them. Otherwise, they are read from the videos' embeddings, which are computed if they are missing.

    Raises:
        VideosLeftOutError: frames of some videos could not be embedded, or a stored vector is not a unit vector.
        ModelError: vectors must be computed, but the encoder is missing.
        DamagedFileError: the frame table of a video is damaged.
    """
    stored = read_representatives(platform.layout.representatives_file(project), fingerprint=fingerprint)
    if stored is not None:
        known = pa.array(stored.frame_ids.tolist(), pa.string())
        rows = pc.index_in(representatives["frame_id"].combine_chunks(), known)
        if not rows.null_count:
            return np.asarray(stored.vectors[rows.to_numpy()], np.float16)
    return read_frame_vectors(platform, encoder, representatives)


def stack_vectors(parts: Sequence[npt.NDArray[np.float16]]) -> npt.NDArray[np.float16]:
    """Return the parts stacked as one (N, D) array. Parts without rows may have any width."""
    filled = [part for part in parts if len(part)]
    return np.concatenate(filled) if filled else parts[-1]


def of_width(vectors: npt.NDArray[np.float16], others: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    """Return `vectors`, or an empty array with the width of `others` if `vectors` has no rows."""
    return vectors if len(vectors) else np.zeros((0, others.shape[1]), np.float16)


def stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """Stack tables with the same columns. A column may allow nulls in only some of them."""
    return pa.concat_tables(tables, promote_options="permissive")


def appearances_of(
    frames: pa.Table, config: DeduplicationConfig, distinctions: Distinctions = NOTHING_APART
) -> Appearances:
    """Return the appearances of frames, in the order of the rows.

    They are computed from the columns `sha256`, `perceptual_hash` and `contrast`.
    """
    hashes = frames["perceptual_hash"].to_numpy()
    contrast = frames["contrast"].to_numpy()
    return Appearances(
        file_codes=frames["sha256"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64),
        hashes=hashes,
        is_telling=telling_hashes(hashes, contrast, config.perceptual_hash_minimum_contrast),
        max_hash_distance=config.perceptual_hash_distance,
        distinctions=distinctions,
    )


def video_codes_of(frames: pa.Table) -> npt.NDArray[np.int64]:
    """Return an (N,) int64 array of codes. Frames have the same code if and only if they are from the same video."""
    codes = frames["video_key"].combine_chunks().dictionary_encode().indices
    return np.asarray(codes.to_numpy(), np.int64)


def newcomers_tiers(named: pa.Table, appearances: Appearances, assignment: Assignment) -> list[DuplicateTier | None]:
    """Return the tier of each newcomer, or None for a representative.

    Args:
        named: earlier representatives and newcomers, one row per id, with `video_key` and `foreign_tier`.
        appearances: the appearances, by id.
        assignment: the assignment of representatives, by id.
    """
    removed = np.flatnonzero(~assignment.is_representative)
    tiers: list[DuplicateTier | None] = [None] * len(assignment.representative_ids)
    found = tiers_of(named, appearances, removed + assignment.num_leaders, assignment.representative_ids[removed])
    for row, tier in zip(removed.tolist(), found, strict=True):
        tiers[row] = tier
    return tiers


def with_pictures(platform: Platform, frames: pa.Table) -> pa.Table:
    """Return the frames, ordered by id, with picture columns from their videos' frame tables.

    Raises:
        VideosLeftOutError: the frame tables of some videos are missing, cannot be read, or lack a frame.
        PermanentError: `frames` contains a frame twice.
        DamagedFileError: the frame table of a video is damaged.
    """
    remedy = "run `data-miner backfill --asset filtered_frames --project PROJECT --force`"
    frames = frames.sort_by("frame_id").combine_chunks()
    check_unique(frames["frame_id"], table="the list of frames to compare", remedy=remedy)
    columns = ["frame_id", "sha256", "perceptual_hash", "contrast", "pts_seconds", "sharpness", "width", "height"]
    pictures = [pa.schema([FRAMES_SCHEMA.field(name) for name in columns]).empty_table()]
    faults: dict[str, ItemFault] = {}

    def pictures_of(video_key: str, wanted: pa.ChunkedArray) -> pa.Table:
        if not has_frames(platform.layout, video_key):
            raise PermanentError(
                f"the frames of {video_key} are missing; run `data-miner doctor --fix` to have them recreated"
            )
        manifest = read_frames(platform.layout, video_key, columns).combine_chunks()
        table = f"frames.parquet of {video_key}"
        return manifest.take(rows_of_ids(wanted, manifest["frame_id"], table=table, remedy=remedy))

    with item_guard("deduplicated_frames") as guard:
        # Frame ids begin with the video's key, so the frames of one video are adjacent once sorted.
        for video_key, start, stop in runs_of(frames["video_key"].combine_chunks()):
            wanted = frames["frame_id"].slice(start, stop - start)
            found = guard.attempt(
                video_key, partial(pictures_of, video_key, wanted), partial(faults.__setitem__, video_key)
            )
            if found is not None:
                pictures.append(found)
    if faults:
        raise VideosLeftOutError(faults)
    together = stacked(pictures).combine_chunks()
    for name in ("sha256", "perceptual_hash", "contrast", "pts_seconds", "sharpness"):
        frames = frames.append_column(name, together[name])
    num_pixels = pc.multiply(together["width"].cast(pa.int64()), together["height"].cast(pa.int64()))
    return frames.append_column("num_pixels", num_pixels)
