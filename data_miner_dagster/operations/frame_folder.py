"""From one video file to one folder of frames: index, targets, plan, pictures, manifest.

Belongs here: what one process does for one video. It knows no catalog and no claim, so that it can be run apart.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.decoding import Int64Array, VideoIndex
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.keys import frame_file_name, make_frame_id
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.media.containers import open_video, read_index
from data_miner_dagster.media.decoding import DecodeTally, decode_targets, index_from_content
from data_miner_dagster.media.pictures import encode, picture_of
from data_miner_dagster.media.quality import measure
from data_miner_dagster.media.shots import measure_changes
from data_miner_dagster.stages.extraction import (
    find_cuts,
    plan_decoding,
    quality_flag,
    select_targets,
)
from data_miner_dagster.storage.tables import table_from_rows, table_writer

_ROWS_PER_GROUP: Final = 1000


@dataclass(frozen=True, slots=True)
class FrameFolderJob:
    """One video to make a folder of frames from. `folder` exists and is empty."""

    video_key: str
    video_path: Path
    folder: Path
    fingerprint: str
    config: ExtractionConfig
    num_threads: int = 1


@dataclass(frozen=True, slots=True)
class FrameFolderSummary:
    """What was made. `num_unmet` targets could not be decoded; `num_decode_errors` packets were damaged."""

    num_frames: int
    num_source_frames: int
    num_decoded: int
    num_unmet: int
    num_decode_errors: int
    size_bytes: int
    num_frames_by_flag: Mapping[str, int] = field(default_factory=dict)

    def as_metadata(self) -> dict[str, int | float | str]:
        """Return plain numbers worth showing."""
        values = asdict(self)
        by_flag = values.pop("num_frames_by_flag")
        return {**values, **{f"num_{flag}": count for flag, count in sorted(by_flag.items())}}


def make_frame_folder(job: FrameFolderJob) -> FrameFolderSummary:
    """Write the frames of a video and, last, their manifest `frames.parquet`. Same input, same bytes.

    The file's own index is believed until a frame that it promises does not come; then everything is decoded, and
    only what did come out counts.

    Raises:
        VideoPermanentError: the file is not usable, has no frame that can be decoded, or exceeds a limit.
    """
    limits = job.config.limits
    with _opened(job) as stream:
        index = read_index(stream, max_frames=limits.max_source_frames)
    if index is not None:
        summary = _attempt(job, index)
        if summary.num_unmet == 0:
            return summary
        for leftover in job.folder.iterdir():
            leftover.unlink()
    with _opened(job) as stream:
        index = index_from_content(stream, max_frames=limits.max_source_frames)
    if index.num_frames == 0:
        raise VideoPermanentError(
            VideoErrorKind.UNDECODABLE, f"{job.video_path.name}: not one frame could be decoded; download it again"
        )
    return _attempt(job, index)


def _opened(job: FrameFolderJob) -> AbstractContextManager[VideoStream]:
    return open_video(job.video_path, num_threads=job.num_threads, max_pixels=job.config.limits.max_pixels)


def _attempt(job: FrameFolderJob, index: VideoIndex) -> FrameFolderSummary:
    cut_pts = _find_cuts(job, index) if job.config.strategy == "scene" else None
    targets = select_targets(index, job.config, cut_pts)
    if len(targets) > job.config.limits.max_sampled_frames:
        raise VideoPermanentError(
            VideoErrorKind.LIMIT_EXCEEDED,
            f"{len(targets)} frames to store are more than extraction.limits.max_sampled_frames="
            f"{job.config.limits.max_sampled_frames}; set max_frames_per_video or sample less",
        )
    tally = DecodeTally()
    flags: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    num_frames = size_bytes = 0
    with (
        _opened(job) as stream,
        table_writer(job.folder / "frames.parquet", FRAMES_SCHEMA, fingerprint=job.fingerprint) as writer,
    ):
        aspect = _pixel_aspect(stream)
        for pts, frame in decode_targets(stream, index, plan_decoding(index, targets), tally):
            row = _store(job, index, frame, pts, num_frames, aspect)
            rows.append(row)
            num_frames += 1
            size_bytes += row["size_bytes"]
            if row["quality_flag"] is not None:
                flags[row["quality_flag"]] += 1
            if len(rows) == _ROWS_PER_GROUP:
                _flush(writer, rows)
        _flush(writer, rows)
    return FrameFolderSummary(
        num_frames=num_frames,
        num_source_frames=index.num_frames,
        num_decoded=tally.num_decoded,
        num_unmet=len(targets) - num_frames,
        num_decode_errors=tally.num_errors,
        size_bytes=size_bytes,
        num_frames_by_flag=dict(flags),
    )


def _find_cuts(job: FrameFolderJob, index: VideoIndex) -> Int64Array:
    with _opened(job) as stream:
        pts, changes = measure_changes(stream, index)
    return find_cuts(
        pts,
        changes,
        index.time_base,
        threshold=job.config.scene_threshold,
        min_scene_seconds=job.config.min_scene_seconds,
    )


def _pixel_aspect(stream: VideoStream) -> Fraction | None:
    ratio = stream.sample_aspect_ratio
    return Fraction(ratio) if ratio else None


def _flush(writer: pq.ParquetWriter, rows: list[dict[str, Any]]) -> None:
    writer.write_table(table_from_rows(rows, FRAMES_SCHEMA))
    rows.clear()


def _store(
    job: FrameFolderJob, index: VideoIndex, frame: VideoFrame, pts: int, frame_index: int, pixel_aspect: Fraction | None
) -> dict[str, Any]:
    """Write one picture; return its row."""
    if frame.width * frame.height > job.config.limits.max_pixels:
        raise VideoPermanentError(
            VideoErrorKind.LIMIT_EXCEEDED,
            f"a picture of {frame.width}x{frame.height} is more than extraction.limits.max_pixels="
            f"{job.config.limits.max_pixels}",
        )
    picture = picture_of(frame, sample_aspect_ratio=pixel_aspect)
    content = encode(picture, job.config.image_format, job.config.jpeg_quality)
    file_name = frame_file_name(frame_index, job.config.image_format)
    (job.folder / file_name).write_bytes(content)
    quality = measure(picture.luma)
    width, height = picture.resolution_wh
    flag = quality_flag(
        sharpness=quality.sharpness,
        brightness=quality.brightness,
        contrast=quality.contrast,
        config=job.config.quality,
    )
    return {
        "frame_id": make_frame_id(job.video_key, frame_index),
        "video_key": job.video_key,
        "frame_index": frame_index,
        "file_name": file_name,
        "pts": pts,
        "time_base_numerator": index.time_base.numerator,
        "time_base_denominator": index.time_base.denominator,
        "pts_seconds": float(pts * index.time_base),
        "source_frame_number": int(np.searchsorted(index.frame_pts, pts)),
        "is_keyframe": bool(frame.key_frame),
        "width": width,
        "height": height,
        "size_bytes": len(content),
        "sha256": sha256(content).hexdigest(),
        "sharpness": quality.sharpness,
        "brightness": quality.brightness,
        "contrast": quality.contrast,
        "is_letterboxed": quality.is_letterboxed,
        "perceptual_hash": quality.perceptual_hash,
        "quality_flag": None if flag is None else flag.value,
    }
