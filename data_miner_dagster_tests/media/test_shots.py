"""Tests of the changes between pictures, on a clip with one cut."""

from pathlib import Path

import numpy as np

from data_miner_dagster.media.containers import open_video
from data_miner_dagster.media.indexes import read_index
from data_miner_dagster.media.shots import measure_changes
from data_miner_dagster.stages.extraction import find_cuts
from data_miner_dagster_tests.support.barcode_clips import make_clip


def test_measure_changes__one_cut(tmp_path: Path) -> None:
    dark, light = np.full((96, 128, 3), 40, np.uint8), np.full((96, 128, 3), 200, np.uint8)
    clip = make_clip(tmp_path / "cut.mp4", num_frames=20, size=(128, 96), pictures=[dark] * 12 + [light] * 8)
    with open_video(clip) as stream:
        index = read_index(stream)
    assert index is not None
    with open_video(clip) as stream:
        pts, changes = measure_changes(stream, index)
    assert len(changes) == 20
    assert int(np.argmax(changes)) == 12
    assert find_cuts(pts, changes, index.time_base, threshold=8, min_scene_seconds=0).tolist() == [pts[12]]
