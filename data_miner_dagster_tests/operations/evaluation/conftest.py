"""A planted project with verdicts from two people."""

import pytest

from data_miner_dagster.catalog.verdicts import add_verdicts
from data_miner_dagster.domain.tables import DETECTED_FRAMES_SCHEMA
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.frames import read_frame_images
from data_miner_dagster.storage.tables import read_table, table_from_rows, write_table
from data_miner_dagster_tests.operations.evaluation.reviewed_project import (
    LEFTS,
    NUM_FRAMES,
    box_at,
    confidence,
    said_of,
)
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Return a project of 40 frames, each with three boxes of class person; boxes from .5 upwards are right.

    Ada judged all boxes, and marked the frames of a random sample, half of all frames, as complete. Ben gave a verdict
    on a box from an earlier detector.
    """
    boxes = {
        frame: [("person", confidence(frame, place), box_at(LEFTS[place])) for place in range(3)]
        for frame in range(NUM_FRAMES)
    }
    platform = build_project(
        tmp_path_factory.mktemp("root"), videos=[SampleVideo("files-aaa", num_frames=NUM_FRAMES, boxes=boxes)]
    )
    add_verdicts(platform.database, "cyclists", [verdict for frame in range(NUM_FRAMES) for verdict in said_of(frame)])
    table = platform.layout.detected_frames_table("cyclists")
    images = read_frame_images(platform.layout, "files-aaa")
    rows = [
        row | {"image_sha256": images[frame].sha256}
        for frame, row in enumerate(read_table(table, DETECTED_FRAMES_SCHEMA.names).to_pylist())
    ]
    write_table(table, table_from_rows(rows, DETECTED_FRAMES_SCHEMA), fingerprint="real pictures")
    return platform
