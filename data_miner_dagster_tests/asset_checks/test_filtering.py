from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.asset_checks.filtering import every_frame_is_decided
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster_tests.support.check_runs import figures_of, run_check
from data_miner_dagster_tests.support.embeddings import plant_embeddings
from data_miner_dagster_tests.support.faults import Rows, change_rows
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

SOUND = {
    "frames": 5,
    "decisions": 5,
    "frames without a decision": 0,
    "decisions without a frame": 0,
    "repeated decisions": 0,
    "missing or unexpected reason": 0,
}
FAULTS: dict[str, tuple[Mapping[str, int], Callable[[Rows], object]]] = {
    "undecided": ({"decisions": 4, "frames without a decision": 1}, lambda rows: rows.pop()),
    "decided twice": ({"decisions": 6, "repeated decisions": 1}, lambda rows: rows.append(rows[0])),
    "decided twice in place of another": (
        {"repeated decisions": 1, "frames without a decision": 1},
        lambda rows: rows.__setitem__(0, rows[1]),
    ),
    "of no frame": (
        {"decisions": 6, "decisions without a frame": 1},
        lambda rows: rows.append(rows[0] | {"frame_id": "files-aaa/000009"}),
    ),
    "of no frame in place of another": (
        {"frames without a decision": 1, "decisions without a frame": 1},
        lambda rows: rows[0].update(frame_id="files-aaa/000009"),
    ),
    "missing or unexpected reason": (
        {"missing or unexpected reason": 1},
        lambda rows: rows[1].update(drop_reason=None),
    ),
    "kept with a reason": ({"missing or unexpected reason": 1}, lambda rows: rows[0].update(drop_reason="junk")),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose project has a video with three frames, the second of them dropped, and a video with two frames."""
    root = tmp_path_factory.mktemp("root")
    videos = [SampleVideo("files-aaa", 3, dropped={1: "junk"}), SampleVideo("files-bbb", 2)]
    platform = build_project(root, videos=videos, through="filtering")
    for video in videos:
        plant_embeddings(platform, video.key, np.ones((video.num_frames, 1), np.float16))
    return root


@pytest.fixture
def filtered(root: Path) -> Iterator[Path]:
    """The project's table of filter decisions, restored after the test."""
    path = StorageLayout(root).filtered_table("cyclists")
    sound = path.read_bytes()
    yield path
    path.write_bytes(sound)


@pytest.mark.usefixtures("filtered")
def test_every_frame_is_decided__passes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_check(every_frame_is_decided, root, "cyclists", monkeypatch)
    assert found.passed
    assert found.description is None
    assert figures_of(found) == SOUND


@pytest.mark.parametrize("fault", FAULTS)
def test_every_frame_is_decided__fails_and_says_why(
    filtered: Path, root: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    figures, change = FAULTS[fault]
    change_rows(filtered, change)
    found = run_check(every_frame_is_decided, root, "cyclists", monkeypatch)
    assert not found.passed
    assert figures_of(found) == {**SOUND, **figures}
    wanted = {**SOUND, **figures}
    assert found.description == (
        f"5 frames, {wanted['frames without a decision']} of them without a decision; {wanted['decisions']} decisions, "
        f"{wanted['decisions without a frame']} of them without a frame, "
        f"{wanted['repeated decisions']} repeated, "
        f"{wanted['missing or unexpected reason']} with a missing or unexpected reason; "
        "run `data-miner backfill --asset filtered_frames --project PROJECT --force` to decide again"
    )
