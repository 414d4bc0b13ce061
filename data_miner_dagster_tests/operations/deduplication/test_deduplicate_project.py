"""Test deduplication of planted projects: what is kept, what is unchanged when videos are added, what is repeated."""

from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.domain.errors import ConfigError, NotReadyError, SystematicFaultError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.deduplication.check import check_deduplication
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster.storage.vectors import (
    read_embeddings,
    write_embeddings,
)
from data_miner_dagster_tests.support.axis_duplicates import (
    CAT,
    CAT_ON_BUS,
    CAT_ON_SLIDE,
    DOG,
    NEARLY_CAT,
    plant,
    run,
    save,
)
from data_miner_dagster_tests.support.axis_project import PlantedPlatform


def test_deduplicate_project__not_filtered_yet(platform: PlantedPlatform) -> None:
    save(platform)
    with pytest.raises(NotReadyError, match="has no filtered_frames yet"):
        deduplicate_project(platform, "pets")


def test_deduplicate_project__unknown_project(platform: PlantedPlatform) -> None:
    with pytest.raises(ConfigError, match="project 'nobody' does not exist"):
        deduplicate_project(platform, "nobody")


def test_deduplicate_project__nothing_kept_passes_through(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [DOG, DOG])
    assert run(platform) == {}
    outcome = deduplicate_project(platform, "pets")
    assert outcome.status is OutcomeStatus.REUSED
    assert outcome.counts["frames"] == 0


def test_deduplicate_project__tiers_and_counts(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT, CAT_ON_BUS, DOG], sharpness=[9, 8, 9, 9])
    plant(platform, "site-b", [CAT, CAT, CAT, CAT_ON_SLIDE], sharpness=[1, 2, 3, 4])
    a, b = (read_table(platform.layout.frames_table(key)).to_pylist() for key in ("site-a", "site-b"))
    plant(
        platform,
        "site-b",
        [CAT, CAT, CAT, CAT_ON_SLIDE],
        sharpness=[1, 2, 3, 4],
        sha256=[a[0]["sha256"], *(row["sha256"] for row in b[1:])],
        perceptual_hash=[0, a[0]["perceptual_hash"] ^ 0b111, 1, 2],
    )
    assert run(platform) == {
        "site-a/000000": ("site-a/000000", None),
        "site-a/000001": ("site-a/000000", "within_video"),
        "site-a/000002": ("site-a/000002", None),
        "site-b/000000": ("site-a/000000", "exact"),
        "site-b/000001": ("site-a/000000", "perceptual_hash"),
        "site-b/000002": ("site-a/000000", "across_videos"),
        "site-b/000003": ("site-b/000003", None),
    }
    outcome = deduplicate_project(platform, "pets")
    assert dict(outcome.counts) == {
        "frames": 7,
        "representatives": 3,
        "exact": 1,
        "perceptual_hash": 1,
        "within_video": 1,
        "across_videos": 1,
        "other_project": 0,
        "earlier_release": 0,
    }
    assert outcome.metadata["threshold"] == 0.9
    project = find_project(platform.database, "pets")
    assert project is not None
    assert project.stage is ProjectStage.DETECTION_READY


def test_deduplicate_project__files_and_hashes_before_embeddings(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, CAT_ON_BUS, CAT_ON_SLIDE], sharpness=[9, 8, 7])
    a = read_table(platform.layout.frames_table("site-a")).to_pylist()
    near = [row["perceptual_hash"] ^ 0b1111 for row in a]
    far = [row["perceptual_hash"] ^ 0b11111_0000 for row in a]
    # Frame 0 has the file of site-a/000000. The others have hashes near that of site-a/000002: the first is within the
    # distance, the second one bit beyond it, and the third has too little contrast to count.
    plant(
        platform,
        "site-b",
        [CAT_ON_BUS] * 4,
        sha256=[a[0]["sha256"], "1", "2", "3"],
        perceptual_hash=[1, near[2], far[2], near[2]],
        contrast=[50, 50, 50, 19],
        sharpness=[9, 9, 9, 9],
    )
    save(platform, threshold=1.0, perceptual_hash_distance=4)
    assert run(platform) == {
        "site-a/000000": ("site-a/000000", None),
        "site-a/000001": ("site-b/000001", "across_videos"),
        "site-a/000002": ("site-b/000001", "perceptual_hash"),
        "site-b/000000": ("site-a/000000", "exact"),
        "site-b/000001": ("site-b/000001", None),
        "site-b/000002": ("site-b/000001", "within_video"),
        "site-b/000003": ("site-b/000001", "within_video"),
    }
    similarity = read_table(platform.layout.deduplicated_table("pets"))["similarity"].to_pylist()
    assert similarity[2:4] == [pytest.approx(0.64, abs=1e-3), pytest.approx(0.8, abs=1e-3)]


def test_deduplicate_project__better_frames_stand_for_worse(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [NEARLY_CAT, CAT, CAT], sharpness=[99, 1, 2])
    assert run(platform) == {
        "site-a/000000": ("site-a/000002", "within_video"),  # sharper, but less similar to the prompt
        "site-a/000001": ("site-a/000002", "within_video"),  # as similar to the prompt, but less sharp
        "site-a/000002": ("site-a/000002", None),
    }
    table = read_table(platform.layout.deduplicated_table("pets"))
    assert table["quality_rank"].to_pylist() == [2, 1, 0]
    assert table["similarity"].to_pylist() == [pytest.approx(0.995, abs=1e-3), 1.0, None]


def test_deduplicate_project__same_input_same_bytes(platform: PlantedPlatform, tmp_path: Path) -> None:
    twin = PlantedPlatform(tmp_path / "twin")
    for each, keys in ((platform, ["site-a", "site-b"]), (twin, ["site-b", "site-a"])):
        save(each)
        for key in keys:
            plant(each, key, [CAT, NEARLY_CAT, CAT_ON_BUS])
        run(each)
    files = [each.layout.deduplicated_table("pets") for each in (platform, twin)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_deduplicate_project__second_run_does_nothing(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT])
    run(platform)
    path = platform.layout.deduplicated_table("pets")
    before = path.stat().st_mtime_ns
    assert deduplicate_project(platform, "pets").status is OutcomeStatus.REUSED
    assert path.stat().st_mtime_ns == before


def test_deduplicate_project__killed_between_file_and_row(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT])
    run(platform)
    with platform.database.transaction() as session:
        assert move_project(session, "pets", ProjectStage.DEDUPLICATION)
    assert deduplicate_project(platform, "pets").status is OutcomeStatus.REUSED
    project = find_project(platform.database, "pets")
    assert project is not None
    assert project.stage is ProjectStage.DETECTION_READY


def break_embeddings(platform: PlantedPlatform, key: str) -> None:
    path = platform.layout.embedding_file("axis", key)
    stored = read_embeddings(path)
    assert stored is not None
    stored.vectors[0] = np.nan
    write_embeddings(path, stored)


def test_deduplicate_project__goes_on_without_a_video_whose_embeddings_are_broken(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT])
    plant(platform, "site-b", [CAT_ON_BUS])
    filter_project(platform, "pets")
    path = platform.layout.embedding_file("axis", "site-a")
    whole = path.read_bytes()
    break_embeddings(platform, "site-a")

    outcome = deduplicate_project(platform, "pets")

    assert (outcome.counts["frames"], outcome.counts["left_out_videos"]) == (1, 1)
    assert read_table(platform.layout.deduplicated_table("pets"))["video_key"].to_pylist() == ["site-b"]
    reasons = {row.video_key: (row.status.value, row.reason) for row in find_members(platform.database, "pets")}
    assert reasons["site-b"] == ("FILTERED", None)
    assert reasons["site-a"][0] == "FAILED"
    assert str(reasons["site-a"][1]).startswith(
        "internal_error: embeddings of site-a from axis are not unit vectors (1 of 2"
    )
    assert check_deduplication(platform, "pets").holds
    # a table that lacks a left-out video is made again, with the same result as long as the video is unchanged
    assert deduplicate_project(platform, "pets").fingerprint == outcome.fingerprint
    path.write_bytes(whole)
    assert deduplicate_project(platform, "pets").counts["frames"] == 3


def test_deduplicate_project__a_broken_model_fails_the_project_and_no_video(platform: PlantedPlatform) -> None:
    save(platform)
    for key in ("site-a", "site-b", "site-c"):
        plant(platform, key, [CAT])
    filter_project(platform, "pets")
    for key in ("site-a", "site-b", "site-c"):
        break_embeddings(platform, key)
    with pytest.raises(
        SystematicFaultError, match=r"all 3 items failed with the same internal error.*not unit vectors"
    ):
        deduplicate_project(platform, "pets")
    project = find_project(platform.database, "pets")
    assert project is not None
    assert project.stage is ProjectStage.FAILED
    assert {row.status.value for row in find_members(platform.database, "pets")} == {"FILTERED"}


def test_deduplicate_project__clustered_search_reports_its_recall(platform: PlantedPlatform) -> None:
    save(platform, exact_up_to_frames=1, minimum_recall=0.5)
    angles = np.radians(np.linspace(0, 60, 200))
    plant(platform, "site-a", [(float(np.cos(a)), 0.0, float(np.sin(a)), 0.0) for a in angles])
    run(platform)
    metadata = deduplicate_project(platform, "pets").metadata
    assert metadata["search"] == "clustered"
    assert float(metadata["measured_recall"]) >= 0.5
