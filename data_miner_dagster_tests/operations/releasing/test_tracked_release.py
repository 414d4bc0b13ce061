"""Tracked objects in a release: the track columns of its boxes, and whole-clip tracks."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.domain.tables import (
    DETECTIONS_SCHEMA,
    TRACK_COLUMNS,
    TRACKED_FRAMES_SCHEMA,
    TRACKS_SCHEMA,
)
from data_miner_dagster.domain.tracks import Sighting
from data_miner_dagster.export.coco import ALL_SPLITS, annotation_file
from data_miner_dagster.export.parquet import boxes_table
from data_miner_dagster.export.tracks import has_tracks, read_tracked_frames
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.exporting import export_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.storage.tables import read_fingerprint, read_table, table_from_rows, write_table
from data_miner_dagster_tests.operations.releasing.release_folders import release_folder
from data_miner_dagster_tests.support.sample_project import build_project

SEEN = [{"pts_seconds": 0.75, "confidence": 0.5}, {"pts_seconds": 1.25, "confidence": 0.25}]
# By frame and class: the track id, and the sightings from which the box was recovered.
TRACKS = {("files-aaa/000001", "bicycle"): (2, None), ("files-aaa/000003", "person"): (1, SEEN)}


@pytest.fixture
def tracked(tmp_path: Path) -> Platform:
    platform = build_project(tmp_path)
    path = platform.layout.detections_table("cyclists")
    rows = read_table(path).to_pylist()
    for row in rows:
        track_id, seen = TRACKS.get((row["frame_id"], row["class_name"]), (None, None))
        row |= {"track_id": track_id, "recovered": seen is not None, "recovered_from": seen}
    schema = DETECTIONS_SCHEMA
    for column in TRACK_COLUMNS:
        schema = schema.append(column)
    write_table(path, table_from_rows(rows, schema), fingerprint=read_fingerprint(path) or "")
    return platform


def _plant_whole_clip(platform: Platform, fingerprint: str) -> None:
    def frame(number: int, frame_id: str | None = None, video_key: str = "files-aaa") -> dict[str, Any]:
        place = {"video_key": video_key, "tracked_frame": number, "pts_seconds": number / 4, "frame_id": frame_id}
        return place | {"stretch": 0, "width": 64, "height": 48}

    def box(number: int, track_id: int, confidence: float, **more: Any) -> dict[str, Any]:
        corners = {"x_min": 4.0 + number, "y_min": 6.0, "x_max": 80.0, "y_max": 30.0}
        said = {"class_name": "bicycle", "prompt": "bike", "num_agreeing_detectors": 1, "recovered": False}
        return frame(number) | corners | said | {"track_id": track_id, "confidence": confidence} | more

    frames = [frame(0), frame(1, "files-aaa/000001"), frame(2), frame(0, video_key="files-zzz")]
    boxes = [box(0, 1, 0.9), box(0, 2, 0.2), box(2, 1, 0.5, recovered=True, recovered_from=SEEN)]
    for path, rows, schema in (
        (platform.layout.tracked_frames_table("cyclists"), frames, TRACKED_FRAMES_SCHEMA),
        (platform.layout.tracks_table("cyclists"), boxes, TRACKS_SCHEMA),
    ):
        write_table(path, table_from_rows(rows, schema), fingerprint=fingerprint)


def test_release_project__tracks_are_columns_and_keys(tracked: Platform) -> None:
    release_project(tracked, "cyclists")
    folder = release_folder(tracked)
    boxes = read_table(boxes_table(folder)).to_pylist()
    found = {(box["frame_id"], box["class_name"]): (box["track_id"], box["recovered_from"]) for box in boxes}
    assert found == {
        ("files-aaa/000001", "bicycle"): (2, None),
        ("files-aaa/000003", "person"): (1, SEEN),
        ("files-bbb/000001", "person"): (None, None),
        ("files-ccc/000000", "bicycle"): (None, None),
    }
    assert [box["recovered"] for box in boxes] == [box["recovered_from"] is not None for box in boxes]
    annotations = json.loads(annotation_file(folder, ALL_SPLITS).read_text())["annotations"]
    assert [annotation.get("track_id") for annotation in annotations] == [box["track_id"] for box in boxes]
    recovered = [annotation for annotation in annotations if annotation["recovered"]]
    assert [annotation["recovered_from"] for annotation in recovered] == [SEEN]
    assert not has_tracks(folder)


def test_release_project__without_tracks_nothing_is_said_of_them(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    folder = release_folder(platform)
    assert not {"track_id", "recovered", "recovered_from"} & set(read_table(boxes_table(folder)).column_names)
    assert "track_id" not in annotation_file(folder, ALL_SPLITS).read_text()


def test_release_project__whole_clip_tracks(tracked: Platform, tmp_path: Path) -> None:
    _plant_whole_clip(tracked, read_fingerprint(tracked.layout.detections_table("cyclists")) or "")
    release_project(tracked, "cyclists")
    frames = list(read_tracked_frames(release_folder(tracked)))
    assert [(frame.video_key, frame.tracked_frame, frame.frame_id) for frame in frames] == [
        ("files-aaa", 0, None),
        ("files-aaa", 1, "files-aaa/000001"),
        ("files-aaa", 2, None),
    ], "a video without a released image has no tracks in a release"
    assert [[box.track_id for box in frame.boxes] for frame in frames] == [[1], [], [1]], "0.2 is below the threshold"
    last = frames[2].boxes[0]
    assert (last.class_index, last.box_xyxy) == (1, (6.0, 6.0, 64.0, 30.0))
    assert last.recovered_from == (Sighting(0.75, 0.5), Sighting(1.25, 0.25))
    export_release(tracked, "cyclists", format="parquet", to=tmp_path / "exported")
    assert list(read_tracked_frames(tmp_path / "exported")) == frames
    export_release(tracked, "cyclists", format="mot", to=tmp_path / "mot")
    (lines,) = [path.read_text() for path in (tmp_path / "mot").rglob("files-aaa/gt/gt.txt")]
    assert lines.splitlines() == ["1,1,4.0,6.0,60.0,24.0,1,2,1", "3,1,6.0,6.0,58.0,24.0,1,2,1"]
    export_release(tracked, "cyclists", format="youtube-vis", to=tmp_path / "youtube-vis")
    assert len(list((tmp_path / "youtube-vis").rglob("files-aaa/000002.jpg"))) == 1


def test_release_project__tracks_of_other_detections_are_left_out(tracked: Platform) -> None:
    _plant_whole_clip(tracked, "of another run")
    release_project(tracked, "cyclists")
    assert not has_tracks(release_folder(tracked))
