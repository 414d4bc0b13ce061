"""Read the whole-clip tracks of a project's released videos in the form that a release stores."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.splits import split_at
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import TRACKED_FRAMES_SCHEMA, TRACKS_SCHEMA
from data_miner_dagster.domain.tracks import sightings_from
from data_miner_dagster.export.records import ReleaseBox
from data_miner_dagster.export.tracks import TrackedFrame
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.planning import ReleasePlan
from data_miner_dagster.stages.releasing import DECIMALS, clip_box
from data_miner_dagster.stages.reviewing.states import BoxState, FrameClasses
from data_miner_dagster.storage.tables import read_fingerprint, read_rows


def has_tracks(platform: Platform, project: str) -> bool:
    """Return whether a project has whole-clip tracks that belong to its table of detections."""
    wanted = read_fingerprint(platform.layout.table_of(project, ProjectStage.DETECTION))
    return wanted is not None and all(
        read_fingerprint(path) == wanted
        for path in (platform.layout.tracks_table(project), platform.layout.tracked_frames_table(project))
    )


def tracked_frames(platform: Platform, plan: ReleasePlan) -> Iterator[TrackedFrame]:
    """Yield the tracked frames of the released videos, with the boxes at or above their class's threshold.

    Frames in a gap between two splits of a video are left out, and so are boxes outside their frame. Verdicts of people
    and verifiers apply to images, so they do not change tracks. The tables are read in step, so memory use is bounded.
    """
    layout, project = platform.layout, plan.header.project
    classes = FrameClasses.of(plan.config)
    detector = "+".join(plan.config.detection.detectors or (platform.models.detector.name,))
    of_frame = groupby(read_rows(layout.tracks_table(project), TRACKS_SCHEMA.names), key=_place)
    place, boxes = next(of_frame, (None, iter(())))
    for row in read_rows(layout.tracked_frames_table(project), TRACKED_FRAMES_SCHEMA.names):
        own: tuple[ReleaseBox, ...] = ()
        if place == _place(row):
            found = (_box(box, row, classes, detector) for box in boxes)
            own = tuple(box for box in found if box is not None)
            place, boxes = next(of_frame, (None, iter(())))
        split = split_at(plan.split_by_video.get(row["video_key"], ""), row["pts_seconds"])
        if split:
            yield TrackedFrame(**row, split=split, boxes=own)


def _place(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["video_key"], row["tracked_frame"]


def _box(row: Mapping[str, Any], frame: Mapping[str, Any], classes: FrameClasses, detector: str) -> ReleaseBox | None:
    class_index = classes.names.index(row["class_name"])
    corners = clip_box((row["x_min"], row["y_min"], row["x_max"], row["y_max"]), (frame["width"], frame["height"]))
    if corners is None or classes.ranges[class_index].state_of(row["confidence"]) is not BoxState.OBJECT:
        return None
    return ReleaseBox(
        class_index=class_index,
        class_name=row["class_name"],
        box_xyxy=corners,
        confidence=round(row["confidence"], DECIMALS),
        prompt=row["prompt"],
        detector=detector,
        num_agreeing_detectors=row["num_agreeing_detectors"],
        mask=Mask.from_coco(row["mask"]) if row["mask"] else None,
        track_id=row["track_id"],
        recovered=row["recovered"],
        recovered_from=sightings_from(row["recovered_from"]),
    )
