"""A tiny real project on disk: real JPEGs, tables with the real schemas and a real catalog. Only models are missing.

The numbers are small enough to count by hand; see `SAMPLE_VIDEOS`.
"""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from data_miner_dagster.catalog.members import add_candidates
from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.transitions import move_project, move_project_video, move_video
from data_miner_dagster.catalog.videos import find_video, record_downloaded
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import make_frame_id, split_frame_id
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoCandidate, VideoFileRecord
from data_miner_dagster.domain.statuses import ProjectStage, ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.tables import (
    DEDUPLICATED_SCHEMA,
    DETECTED_FRAMES_SCHEMA,
    DETECTIONS_SCHEMA,
    FILTERED_SCHEMA,
)
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.tables import table_from_rows, write_table
from data_miner_dagster_tests.support.frames import write_pictures

FOUND_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FRAME_WH = (64, 48)


@dataclass(frozen=True)
class SampleVideo:
    """A video, and the results of each stage for its frames, by frame index.

    `flags` has the frames' quality flags, `dropped` their drop reasons, `duplicates` their (representative frame id,
    tier) pairs, and `boxes` their (class name, confidence, (x_min, y_min, x_max, y_max)) rows. `perceptual_hash` is
    the hash of all frames. If it is None, each frame has its own, which is unrelated to its picture.
    """

    key: str
    num_frames: int = 4
    flags: Mapping[int, str] = field(default_factory=dict)
    dropped: Mapping[int, str] = field(default_factory=dict)
    duplicates: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    boxes: Mapping[int, Sequence[tuple[str, float, tuple[float, float, float, float]]]] = field(default_factory=dict)
    failed: VideoErrorKind | None = None
    rejected: str | None = None
    perceptual_hash: int | None = None


SAMPLE_VIDEOS: tuple[SampleVideo, ...] = (
    SampleVideo(
        "files-aaa",
        num_frames=5,
        flags={0: "black"},
        dropped={0: "black", 4: "below_positive"},
        duplicates={2: ("files-aaa/000001", "within_video")},
        boxes={
            1: [("bicycle", 0.9, (4.0, 6.0, 40.0, 30.0)), ("person", 0.2, (1.0, 1.0, 9.0, 9.0))],
            3: [("person", 0.5, (10.5, 8.25, 30.0, 47.0))],
        },
    ),
    SampleVideo(
        "files-bbb",
        duplicates={0: ("files-aaa/000001", "across_videos")},
        boxes={1: [("person", 0.7, (-3.0, 0.0, 20.0, 60.0)), ("person", 0.3, (30.0, 10.0, 40.0, 20.0))]},
    ),
    SampleVideo("files-ccc", num_frames=3, dropped={1: "junk"}, boxes={0: [("bicycle", 0.6, (0.0, 0.0, 64.0, 48.0))]}),
    SampleVideo("files-ddd", failed=VideoErrorKind.UNDECODABLE),
    SampleVideo("files-eee", rejected="duration: 3 s is shorter than 10 s"),
)
"""5 candidates, 1 rejected, 1 failed, 3 extracted; 12 frames, 1 black, 3 dropped; 9 kept, 2 duplicates (one of them
across aaa and bbb), 7 unique; 6 boxes, 5 at a threshold of 0.3: person 3, bicycle 2."""


def project_config(name: str = "cyclists", **sections: Any) -> ProjectConfig:
    """Return a small valid configuration; `sections` replace its sections.

    Unsure boxes count as negatives unless `releasing` says otherwise, so all of the 7 unique frames are released.
    """
    values: dict[str, Any] = {
        "name": name,
        "description": "Cyclists and passers-by in short clips.",
        "sourcing": {"sources": [{"type": "files", "paths": ["clips"]}]},
        "filtering": {"positive": ["a bicycle", "a person"], "junk": ["a title card"]},
        "detection": {"classes": {"person": [], "bicycle": ["bicycle", "bike"]}},
    }
    releasing = {"unsure": "as_negative", **sections.pop("releasing", {})}
    return ProjectConfig.model_validate(values | sections | {"releasing": releasing})


def build_platform(root: Path, *, profile: str = "lite", catalog_url: str | None = None) -> Platform:
    """Return a platform on an empty root, with its own SQLite catalog or with the one at `catalog_url`."""
    config = PlatformConfig.model_validate({"models": {"profile": profile}})
    return Platform(config, root, catalog_url=catalog_url)


def build_project(
    root: Path,
    *,
    name: str = "cyclists",
    videos: Sequence[SampleVideo] = SAMPLE_VIDEOS,
    through: str = "detection",
    catalog_url: str | None = None,
    picture_of: Callable[[int], Image.Image] | None = None,
    **sections: Any,
) -> Platform:
    """Write a project to disk as if its stages had run up to `through`, and return its platform.

    `through` is one of sourcing, extraction, filtering, deduplication, detection. The function may be called again on
    the same root with more videos; everything is then rewritten.
    """
    platform = build_platform(root, catalog_url=catalog_url)
    config = project_config(name, **sections)
    dumped = config.model_dump(mode="json")
    classes = list(config.detection.classes)  # their order matters, but JSON objects do not guarantee it
    save_snapshot(platform.database, name, dumped, fingerprint_of({"config": dumped, "classes": classes}), None)
    reached = ("sourcing", "extraction", "filtering", "deduplication", "detection").index(through)
    with platform.database.transaction() as session:
        for rank, video in enumerate(videos):
            add_candidates(session, name, [(_candidate(video, rank), video.rejected)])
    extracted = [video for video in videos if video.failed is None and video.rejected is None]
    if reached >= 1:
        for video in videos:
            if video.rejected is None:
                _write_frames(platform, video, picture_of)
    layout = platform.layout
    stage = ProjectStage.SOURCING
    if reached >= 2:
        rows = sorted((row for video in extracted for row in _filtered_rows(video)), key=_by_frame)
        _record_filtered(platform, name, extracted)
        _write(layout.filtered_table(name), rows, FILTERED_SCHEMA)
        stage = ProjectStage.DEDUPLICATION_READY
    if reached >= 3:
        rows = sorted((row for video in extracted for row in _deduplicated_rows(video)), key=_by_frame)
        ranked = [row | {"quality_rank": rank} for rank, row in enumerate(rows)]
        _write(layout.deduplicated_table(name), ranked, DEDUPLICATED_SCHEMA)
        stage = ProjectStage.DETECTION_READY
    if reached >= 4:
        _write_detections(platform, name, extracted, [row["frame_id"] for row in rows if row["is_representative"]])
        stage = ProjectStage.RELEASING_READY
    _walk_to(platform, name, stage)
    return platform


def _candidate(video: SampleVideo, rank: int) -> VideoCandidate:
    return VideoCandidate(
        video.key,
        url=f"https://videos.example/{video.key}.mp4",
        source="urls",
        query="https://videos.example/list",
        rank=rank,
        found_at=FOUND_AT,
        title=f"Clip {video.key[-3:]}",
        channel="Example channel",
        licence="CC-BY-4.0",
    )


def _write_detections(platform: Platform, name: str, videos: Sequence[SampleVideo], frame_ids: Sequence[str]) -> None:
    boxes_by_frame = {
        make_frame_id(video.key, index): boxes for video in videos for index, boxes in video.boxes.items()
    }
    boxes = [row for frame_id in frame_ids for row in _box_rows(frame_id, boxes_by_frame.get(frame_id, ()))]
    _write(platform.layout.detections_table(name), boxes, DETECTIONS_SCHEMA)
    seen = [
        {
            "frame_id": frame_id,
            "image_sha256": "0" * 64,
            "detection_fingerprint": "detector",
            "num_boxes": len(boxes_by_frame.get(frame_id, ())),
        }
        for frame_id in frame_ids
    ]
    _write(platform.layout.detected_frames_table(name), seen, DETECTED_FRAMES_SCHEMA)


def textured_image(seed: int, size_wh: tuple[int, int] = FRAME_WH) -> Image.Image:
    """Return a picture that differs for every seed: a gradient, a disc and a little noise."""
    generator = np.random.default_rng(seed)
    width, height = size_wh
    ramp = np.linspace(0, 120, width, dtype=np.float32)[None, :, None] + generator.integers(0, 90, 3)
    noise = generator.normal(0, 6, (height, width, 3))
    image = Image.fromarray(np.clip(np.broadcast_to(ramp, (height, width, 3)) + noise, 0, 255).astype(np.uint8))
    x, y = (int(value) for value in generator.integers(8, (width - 16, height - 16)))
    colour = tuple(int(value) for value in generator.integers(0, 255, 3))
    ImageDraw.Draw(image).ellipse((x, y, x + 14, y + 14), fill=colour)
    return image


def _by_frame(row: Mapping[str, Any]) -> str:
    return str(row["frame_id"])


def _write(path: Path, rows: Sequence[Mapping[str, Any]], schema: Any) -> None:
    write_table(path, table_from_rows(rows, schema), fingerprint=fingerprint_of({"rows": [dict(row) for row in rows]}))


def seed_of(video_key: str, frame_index: int) -> int:
    """Return the seed from which a frame's picture is drawn."""
    return int.from_bytes(hashlib.sha256(f"{video_key}/{frame_index}".encode()).digest()[:4], "big")


def _write_frames(
    platform: Platform, video: SampleVideo, picture_of: Callable[[int], Image.Image] | None = None
) -> None:
    database, layout = platform.database, platform.layout
    row = find_video(database, video.key)
    if row is None or row.status is VideoStatus.EXTRACTED:
        return
    source = f"the bytes of {video.key}".encode()
    with database.transaction() as session:
        move_video(session, video.key, VideoStatus.DOWNLOADING)
        file = VideoFileRecord(
            "video.mp4", len(source), hashlib.sha256(source).hexdigest(), float(video.num_frames), *FRAME_WH
        )
        record_downloaded(session, video.key, file)
        move_video(session, video.key, VideoStatus.EXTRACTING)
        if video.failed is not None:
            move_video(session, video.key, VideoStatus.FAILED, error_kind=video.failed, error="no frame decodes")
            return
    seeds, contents = [], []
    for index in range(video.num_frames):
        seeds.append(seed_of(video.key, index))
        buffer = io.BytesIO()
        (picture_of or textured_image)(seeds[-1]).save(buffer, "JPEG", quality=90)
        contents.append(buffer.getvalue())
    write_pictures(
        layout,
        video.key,
        contents,
        fingerprint=fingerprint_of({"seeds": seeds, "flags": [video.flags.get(i) for i in range(video.num_frames)]}),
        pts=[index * 12800 for index in range(video.num_frames)],
        time_base_denominator=12800,
        source_frame_number=[index * 25 for index in range(video.num_frames)],
        is_keyframe=[index == 0 for index in range(video.num_frames)],
        sharpness=[100.0 + index for index in range(video.num_frames)],
        brightness=90.0,
        contrast=30.0,
        perceptual_hash=seeds if video.perceptual_hash is None else video.perceptual_hash,
        quality_flag=[video.flags.get(index) for index in range(video.num_frames)],
    )
    with database.transaction() as session:
        move_video(session, video.key, VideoStatus.EXTRACTED, num_frames=video.num_frames)


def _filtered_rows(video: SampleVideo) -> list[dict[str, Any]]:
    return [
        {
            "frame_id": make_frame_id(video.key, index),
            "video_key": video.key,
            "frame_index": index,
            "pts_seconds": float(index),
            "positive_similarity": 0.9 - 0.05 * index - (0.5 if index in video.dropped else 0.0),
            "positive_prompt": "a bicycle" if index % 2 else "a person",
            "junk_similarity": 0.1,
            "junk_prompt": "a title card",
            "is_kept": index not in video.dropped,
            "drop_reason": video.dropped.get(index),
        }
        for index in range(video.num_frames)
    ]


def _deduplicated_rows(video: SampleVideo) -> list[dict[str, Any]]:
    rows = []
    for index in range(video.num_frames):
        if index in video.dropped:
            continue
        frame_id = make_frame_id(video.key, index)
        representative, tier = video.duplicates.get(index, (frame_id, None))
        rows.append(
            {
                "frame_id": frame_id,
                "video_key": video.key,
                "frame_index": index,
                "is_representative": representative == frame_id,
                "representative_frame_id": representative,
                "similarity": None if tier is None else 0.95,
                "tier": tier,
                "generation": 0,
            }
        )
    return rows


def _box_rows(
    frame_id: str, boxes: Sequence[tuple[str, float, tuple[float, float, float, float]]]
) -> list[dict[str, Any]]:
    video_key, frame_index = split_frame_id(frame_id)
    return [
        {
            "frame_id": frame_id,
            "video_key": video_key,
            "frame_index": frame_index,
            "class_name": class_name,
            "prompt": class_name,
            "confidence": confidence,
            "x_min": x_min,
            "y_min": y_min,
            "x_max": x_max,
            "y_max": y_max,
            "detector": "lite",
            "num_agreeing_detectors": 1,
        }
        for class_name, confidence, (x_min, y_min, x_max, y_max) in boxes
    ]


def _record_filtered(platform: Platform, project: str, videos: Sequence[SampleVideo]) -> None:
    with platform.database.transaction() as session:
        for video in videos:
            num_passed = video.num_frames - len(video.dropped)
            reached = ProjectVideoStatus.FILTERED if num_passed else ProjectVideoStatus.FILTERED_EMPTY
            move_project_video(session, project, video.key, ProjectVideoStatus.FILTERING)
            move_project_video(session, project, video.key, reached, num_passed_frames=num_passed)


def _walk_to(platform: Platform, project: str, stage: ProjectStage) -> None:
    path = list(ProjectStage)
    steps = path[1 : path.index(stage) + 1]
    with platform.database.transaction() as session:
        for step in steps:
            move_project(session, project, step)
