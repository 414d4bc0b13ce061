from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.asset_checks.deduplication import duplicates_are_covered
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster_tests.support.check_runs import figures_of, run_check
from data_miner_dagster_tests.support.embeddings import plant_embeddings, plant_thumbnails
from data_miner_dagster_tests.support.faults import Rows, change_rows
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

TOO_CLOSE, UNSUPPORTED = "too close to another representative", "duplicates without a representative within reach"
AXES = np.eye(4, dtype=np.float16)
VIDEOS: Mapping[str, Sequence[int]] = {"files-aaa": (0, 1, 0), "files-bbb": (0, 2)}  # the axis on which each frame lies
SOUND = {
    "representatives": 3,
    "representatives compared with all others": 3,
    "duplicates": 2,
    TOO_CLOSE: 0,
    UNSUPPORTED: 0,
    "recall": 1.0,
}
KEPT = {"is_representative": True, "similarity": None, "tier": None}
FAULTS: dict[str, tuple[Mapping[str, float], str, Callable[[Rows], object]]] = {
    "a duplicate that was kept": (
        {
            "representatives": 4,
            "representatives compared with all others": 4,
            "duplicates": 1,
            TOO_CLOSE: 1,
            "recall": 0.5,
        },
        "files-bbb/000000 and files-aaa/000000",
        lambda rows: rows[3].update(KEPT, representative_frame_id="files-bbb/000000"),
    ),
    "removed for one that is not alike": (
        {UNSUPPORTED: 1},
        "files-aaa/000002 and files-aaa/000001",
        lambda rows: rows[2].update(representative_frame_id="files-aaa/000001"),
    ),
    "removed for one that was removed": (
        {UNSUPPORTED: 1},
        "files-bbb/000000 and files-aaa/000002",
        lambda rows: rows[3].update(representative_frame_id="files-aaa/000002"),
    ),
    "removed for one that comes later": (
        {"representatives": 3, UNSUPPORTED: 1},
        "files-aaa/000000 and files-aaa/000002",
        lambda rows: (
            rows[0].update(rows[2], frame_id="files-aaa/000000", quality_rank=0, frame_index=0),
            rows[0].update(representative_frame_id="files-aaa/000002"),
            rows[2].update(KEPT, representative_frame_id="files-aaa/000002"),
            rows[3].update(representative_frame_id="files-aaa/000002"),
        ),
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose project has two videos; three of their frames form a duplicate group."""
    root = tmp_path_factory.mktemp("root")
    first = "files-aaa/000000"
    videos = [
        SampleVideo("files-aaa", 3, duplicates={2: (first, "within_video")}),
        SampleVideo("files-bbb", 2, duplicates={0: (first, "across_videos")}),
    ]
    encoder = {"encoder": "filter"}
    platform = build_project(root, videos=videos, through="deduplication", deduplication=encoder)
    for key, axes in VIDEOS.items():
        plant_embeddings(platform, key, AXES[list(axes)])
        plant_thumbnails(platform, key, len(axes))
    return root


@pytest.fixture
def deduplicated(root: Path) -> Iterator[Path]:
    """The project's deduplication table, restored after the test."""
    path = StorageLayout(root).deduplicated_table("cyclists")
    sound = path.read_bytes()
    yield path
    path.write_bytes(sound)


@pytest.mark.usefixtures("deduplicated")
def test_duplicates_are_covered__passes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_check(duplicates_are_covered, root, "cyclists", monkeypatch)
    assert found.passed
    assert figures_of(found) == SOUND


@pytest.mark.parametrize("fault", FAULTS)
def test_duplicates_are_covered__fails_and_names_the_frames(
    deduplicated: Path, root: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    figures, pair, change = FAULTS[fault]
    change_rows(deduplicated, change)
    found = run_check(duplicates_are_covered, root, "cyclists", monkeypatch)
    assert not found.passed
    assert figures_of(found) == {**SOUND, **figures}
    description = str(found.description)
    assert description.endswith(f"; for example {pair}; `data-miner force-dedup PROJECT` recreates the table")
