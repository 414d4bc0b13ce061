"""Test filtering from planted embeddings to decisions, statuses and counts."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_project, update_project
from data_miner_dagster.catalog.schema import ProjectVideoRow, VideoRow
from data_miner_dagster.catalog.transitions import move_project, move_project_video
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import ProjectStage, ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.tables import FILTERED_SCHEMA
from data_miner_dagster.operations.filtering.check import check_decisions
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.prompts import embed_prompts
from data_miner_dagster.storage import similarities as similarities_storage
from data_miner_dagster.storage.similarities import read_header
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster.storage.vectors import StoredEmbeddings, read_embeddings
from data_miner_dagster_tests.support.axis_project import (
    PlantedPlatform,
    plant_frames,
    save_project,
)
from data_miner_dagster_tests.support.catalog import add_video


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    return PlantedPlatform(tmp_path)


def standing(platform: PlantedPlatform) -> dict[str, tuple[str, int | None]]:
    return {row.video_key: (row.status.value, row.num_passed_frames) for row in find_members(platform.database, "pets")}


def stage(platform: PlantedPlatform) -> ProjectStage:
    row = find_project(platform.database, "pets")
    assert row is not None
    return row.stage


def decisions(platform: PlantedPlatform) -> dict[str, str | None]:
    table = read_table(platform.layout.filtered_table("pets"))
    assert table.schema.equals(FILTERED_SCHEMA)
    return dict(zip(table.column("frame_id").to_pylist(), table.column("drop_reason").to_pylist(), strict=True))


def project_bytes(platform: PlantedPlatform) -> tuple[bytes, bytes]:
    return (
        platform.layout.similarities_table("pets").read_bytes(),
        platform.layout.filtered_table("pets").read_bytes(),
    )


def two_videos(platform: PlantedPlatform, **filtering: Any) -> None:
    save_project(platform, **filtering)
    add_video(platform.database, "local-a", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-a", [[0.75, 0, 0, 0], [0.25, 0, 0, 0], [0.875, 0, 0.875, 0]])
    add_video(platform.database, "local-b", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-b", [[0, 1, 0, 0], [1, 0, 0, 0]], quality_flag=[None, "black"])


def test_filter_project__no_members(platform: PlantedPlatform) -> None:
    save_project(platform)
    outcome = filter_project(platform, "pets")
    assert (outcome.status, outcome.counts) == (OutcomeStatus.DONE, {"frames": 0, "kept": 0})
    assert decisions(platform) == {}
    assert stage(platform) is ProjectStage.DEDUPLICATION_READY
    assert platform.encoder.texts_embedded == []
    assert filter_project(platform, "pets").status is OutcomeStatus.REUSED


def test_filter_project__unknown_project(platform: PlantedPlatform) -> None:
    with pytest.raises(ConfigError, match="project 'pets' does not exist"):
        filter_project(platform, "pets")


def test_filter_project__decides_and_counts(platform: PlantedPlatform) -> None:
    two_videos(platform, junk=["slide"])
    outcome = filter_project(platform, "pets")
    assert outcome.status is OutcomeStatus.DONE
    assert list(outcome.counts.items()) == [
        ("frames", 5),
        ("kept", 1),
        ("black", 1),
        ("below_positive", 2),
        ("junk", 1),
    ]
    assert decisions(platform) == {
        "local-a/000000": None,
        "local-a/000001": "below_positive",
        "local-a/000002": "junk",
        "local-b/000000": "below_positive",
        "local-b/000001": "black",
    }
    assert standing(platform) == {"local-a": ("FILTERED", 1), "local-b": ("FILTERED_EMPTY", 0)}
    assert stage(platform) is ProjectStage.DEDUPLICATION_READY
    row = read_table(platform.layout.filtered_table("pets")).slice(2, 1).to_pylist()[0]
    assert (row["positive_similarity"], row["positive_prompt"]) == (0.875, "cat")
    assert (row["junk_similarity"], row["junk_prompt"]) == (0.875, "slide")
    assert (row["negative_similarity"], row["negative_prompt"], row["is_kept"]) == (None, None, False)


def test_filter_project__members_that_are_not_ready_are_counted(platform: PlantedPlatform) -> None:
    two_videos(platform)
    add_video(platform.database, "local-c", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-c", [[1, 0, 0, 0]], with_embeddings=False)
    add_video(
        platform.database,
        "local-d",
        "pets",
        status=VideoStatus.FAILED,
        error_kind=VideoErrorKind.TRUNCATED,
        error="planted",
    )
    add_video(platform.database, "local-e", "pets", status=VideoStatus.PENDING)
    outcome = filter_project(platform, "pets")
    assert list(outcome.counts)[-3:] == ["not_embedded", "unsettled", "failed_truncated"]
    assert [outcome.counts[name] for name in ("not_embedded", "unsettled", "failed_truncated")] == [1, 1, 1]
    assert standing(platform)["local-c"] == ("PENDING", None)
    assert standing(platform)["local-d"] == ("FAILED", None)
    assert standing(platform)["local-e"] == ("PENDING", None)
    reasons = {row.video_key: row.reason for row in find_members(platform.database, "pets")}
    assert reasons["local-d"] == "truncated: planted"


def test_filter_project__second_run_does_nothing(platform: PlantedPlatform) -> None:
    two_videos(platform)
    first = filter_project(platform, "pets")
    before = project_bytes(platform)
    second = filter_project(platform, "pets")
    assert (second.status, second.counts, second.fingerprint) == (
        OutcomeStatus.REUSED,
        first.counts,
        first.fingerprint,
    )
    assert project_bytes(platform) == before


def test_filter_project__forced_run_gives_the_same_bytes(platform: PlantedPlatform) -> None:
    two_videos(platform)
    filter_project(platform, "pets")
    before = project_bytes(platform)
    outcome = filter_project(platform, "pets", force=True)
    assert (outcome.status, outcome.metadata["videos_scored"]) == (OutcomeStatus.DONE, 2)
    assert project_bytes(platform) == before


def test_filter_project__rows_that_lag_behind_the_files_are_mended(platform: PlantedPlatform) -> None:
    two_videos(platform)
    filter_project(platform, "pets")
    with platform.database.transaction() as session:  # as after a kill between writing files and rows
        move_project(session, "pets", ProjectStage.FILTERING)
        for key in ("local-a", "local-b"):
            move_project_video(session, "pets", key, ProjectVideoStatus.FILTERING, num_passed_frames=None)
    assert filter_project(platform, "pets").status is OutcomeStatus.REUSED
    assert standing(platform) == {"local-a": ("FILTERED", 2), "local-b": ("FILTERED_EMPTY", 0)}
    assert stage(platform) is ProjectStage.DEDUPLICATION_READY


def test_filter_project__killed_between_scores_and_decisions(platform: PlantedPlatform) -> None:
    two_videos(platform)
    filter_project(platform, "pets")
    undisturbed = project_bytes(platform)
    folder = platform.layout.project_folder("pets")
    platform.layout.filtered_table("pets").rename(folder / ".partial-0123456789ab-filtered.parquet")
    outcome = filter_project(platform, "pets")
    assert (outcome.status, outcome.metadata["videos_scored"]) == (OutcomeStatus.DONE, 0)
    assert project_bytes(platform) == undisturbed
    # no partial file remains
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".parquet", ".parquet"]


def test_filter_project__reuse_leaves_a_later_stage_alone(platform: PlantedPlatform) -> None:
    two_videos(platform)
    filter_project(platform, "pets")
    row = find_project(platform.database, "pets")
    assert row is not None
    # otherwise it would be a build in progress
    update_project(platform.database, "pets", built_basis=row.building_basis)
    with platform.database.transaction() as session:
        move_project(session, "pets", ProjectStage.DEDUPLICATION)
    filter_project(platform, "pets")
    assert stage(platform) is ProjectStage.DEDUPLICATION


def test_filter_project__a_new_threshold_scores_nothing(platform: PlantedPlatform) -> None:
    two_videos(platform)
    filter_project(platform, "pets")
    similarities, _ = project_bytes(platform)
    save_project(platform, positive_threshold=0.125)
    outcome = filter_project(platform, "pets")
    assert (outcome.status, outcome.metadata["videos_scored"]) == (OutcomeStatus.DONE, 0)
    assert outcome.counts["kept"] == 3
    assert project_bytes(platform)[0] == similarities
    assert platform.encoder.texts_embedded == ["cat"]


def test_filter_project__a_new_prompt_embeds_only_that(platform: PlantedPlatform) -> None:
    two_videos(platform)
    filter_project(platform, "pets")
    save_project(platform, positive=["cat", "dog"])
    outcome = filter_project(platform, "pets")
    assert outcome.metadata["videos_scored"] == 2
    assert platform.encoder.texts_embedded == ["cat", "dog"]
    assert decisions(platform)["local-b/000000"] is None


def test_filter_project__a_prompt_that_changes_sets_is_not_scored_again(platform: PlantedPlatform) -> None:
    two_videos(platform, junk=["slide"])
    filter_project(platform, "pets")
    save_project(platform, negative=["slide"])
    assert filter_project(platform, "pets").metadata["videos_scored"] == 0


def test_filter_project__only_changed_videos_are_scored(
    platform: PlantedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarities_storage, "ROW_GROUP_FRAMES", 4)  # several row groups despite few frames
    two_videos(platform)
    for key in ("local-c", "local-d", "local-e"):
        add_video(platform.database, key, "pets", status=VideoStatus.EXTRACTED)
        plant_frames(platform, key, [[0.75, 0, 0, 0]] * 3)
    filter_project(platform, "pets")
    plant_frames(platform, "local-b", [[1, 0, 0, 0]] * 4, frames_fingerprint="frames-2")
    add_video(platform.database, "local-0", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-0", [[1, 0, 0, 0]])
    plant_frames(platform, "local-d", [[1, 0, 0, 0]] * 2, frames_fingerprint="frames-2", with_embeddings=False)

    outcome = filter_project(platform, "pets")

    # local-0 is new and local-b has changed; local-d is gone
    assert outcome.metadata["videos_scored"] == 2
    incremental = project_bytes(platform)
    header = read_header(platform.layout.similarities_table("pets"))
    assert header is not None
    assert [video.num_frames for video in header.videos] == [1, 3, 4, 3, 3]
    filter_project(platform, "pets", force=True)
    assert project_bytes(platform) == incremental


def test_filter_project__unreadable_frames(platform: PlantedPlatform) -> None:
    save_project(platform)
    add_video(platform.database, "local-a", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-a", [[1, 0, 0, 0]] * 3, left_out=[1])
    outcome = filter_project(platform, "pets")
    assert dict(outcome.counts) == {"frames": 3, "kept": 2, "unreadable": 1}
    row = read_table(platform.layout.filtered_table("pets")).slice(1, 1).to_pylist()[0]
    assert (row["positive_similarity"], row["positive_prompt"]) == (None, None)


def test_filter_project__a_number_of_another_encoder_is_refused(platform: PlantedPlatform) -> None:
    two_videos(platform, positive_threshold=0.25)
    filter_project(platform, "pets")
    platform.encoder.name, platform.encoder.fingerprint = "other", "other-1"
    with pytest.raises(ConfigError, match="was set for encoder 'axis'"):
        filter_project(platform, "pets")
    row = find_project(platform.database, "pets")
    assert row is not None
    assert row.stage is ProjectStage.FAILED
    assert row.error is not None
    assert row.error.startswith("filtering: filtering.positive_threshold = 0.25 was set for encoder 'axis'")
    save_project(platform, positive_threshold={"axis": 0.25, "other": 0.25})
    assert filter_project(platform, "pets").status is OutcomeStatus.DONE
    assert stage(platform) is ProjectStage.DEDUPLICATION_READY


@pytest.mark.parametrize("cut", [KeyboardInterrupt, SystemExit])
def test_filter_project__interrupted_members_stay_what_they_were(
    platform: PlantedPlatform, cut: type[BaseException]
) -> None:
    two_videos(platform)
    filter_project(platform, "pets")
    before = standing(platform)

    def interrupt(prompts: Sequence[str]) -> np.ndarray:  # noqa: ARG001 - as the protocol names it
        raise cut

    save_project(platform, positive=["dog"])
    platform.encoder.embed_texts = interrupt  # type: ignore[method-assign]
    with pytest.raises(cut):
        filter_project(platform, "pets")
    assert standing(platform) == before
    assert stage(platform) is ProjectStage.SOURCING


def test_filter_project__a_video_lost_after_filtering_fails_its_member(platform: PlantedPlatform) -> None:
    two_videos(platform)
    filter_project(platform, "pets")
    with platform.database.transaction() as session:
        video = session.get_one(VideoRow, "local-a")
        video.status, video.error_kind = VideoStatus.UNAVAILABLE, VideoErrorKind.REMOVED
    outcome = filter_project(platform, "pets")
    assert (outcome.counts["frames"], outcome.counts["failed_removed"]) == (2, 1)
    assert standing(platform) == {"local-a": ("FAILED", None), "local-b": ("FILTERED_EMPTY", 0)}


def test_filter_project__goes_on_without_a_video_that_a_fault_meets(
    platform: PlantedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_videos(platform)

    def read(path: Path) -> StoredEmbeddings | None:
        if path.stem == "local-b":
            raise ZeroDivisionError("planted")
        return read_embeddings(path)

    with monkeypatch.context() as patched:
        patched.setattr("data_miner_dagster.operations.filtering.scoring.read_embeddings", read)
        outcome = filter_project(platform, "pets")
        assert outcome.status is OutcomeStatus.DONE
        assert outcome.counts == {"frames": 3, "kept": 2, "below_positive": 1, "failed_internal_error": 1}
        assert check_decisions(platform, "pets").holds
        again = filter_project(platform, "pets")
        assert (again.status, again.fingerprint) == (OutcomeStatus.REUSED, outcome.fingerprint)
    assert standing(platform) == {"local-a": ("FILTERED", 2), "local-b": ("FAILED", None)}
    (member,) = [row for row in find_members(platform.database, "pets") if row.video_key == "local-b"]
    assert re.fullmatch(
        r"internal_error: ZeroDivisionError: planted \(operations/filtering/scoring.py:\d+\)", member.reason or ""
    )
    assert filter_project(platform, "pets").counts["frames"] == 5
    assert standing(platform)["local-b"][0] == "FILTERED_EMPTY"


def test_filter_project__rejected_members_stay_rejected(platform: PlantedPlatform) -> None:
    two_videos(platform)
    with platform.database.transaction() as session:
        row = session.query(ProjectVideoRow).filter_by(video_key="local-b").one()
        row.status = ProjectVideoStatus.REJECTED
    filter_project(platform, "pets")
    assert standing(platform) == {"local-a": ("FILTERED", 2), "local-b": ("REJECTED", None)}


def test_filter_project__deciding_again_imports_no_torch(tmp_path: Path) -> None:
    platform = PlantedPlatform(tmp_path)
    two_videos(platform)
    filter_project(platform, "pets")
    save_project(platform, positive_threshold=0.125)
    program = """
import sys
from collections.abc import Sequence
from pathlib import Path
from data_miner_dagster.operations.filtering.check import check_decisions
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster_tests.support.axis_project import PlantedPlatform
platform = PlantedPlatform(Path(sys.argv[1]))
print(filter_project(platform, "pets").counts["kept"], platform.encoder.texts_embedded)
print([name for name in ("torch", "transformers", "ultralytics", "cv2", "dagster") if name in sys.modules])
"""
    answer = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert answer.stdout.splitlines() == ["3 []", "[]"]


def test_embed_prompts__nothing(platform: PlantedPlatform) -> None:
    assert embed_prompts(platform, []).shape[0] == 0


def test_embed_prompts__mean_over_templates(platform: PlantedPlatform) -> None:
    vectors = embed_prompts(platform, ["cat"], ["{}", "a {} and a dog", "dog, {}"])
    assert vectors.shape == (1, 4)
    assert vectors[0].tolist() == [1, 0, 0, 0]  # the axis encoder uses the first known word: cat, cat, cat
    assert platform.encoder.texts_embedded == ["cat", "a cat and a dog", "dog, cat"]
    mixed = embed_prompts(platform, ["bus"], ["{}", "dog {}"])
    assert mixed[0].tolist() == pytest.approx([0, 0.5**0.5, 0, 0.5**0.5])


def test_embed_prompts__a_bare_array_of_version_0_1_0_is_taken_and_a_damaged_one_is_made_again(
    platform: PlantedPlatform,
) -> None:
    vectors = embed_prompts(platform, ["cat"])
    (stored,) = platform.layout.embeddings.glob("*/prompts/*.npz")
    stored.unlink()
    np.save(stored.with_suffix(".npy"), -vectors[0])
    assert np.array_equal(embed_prompts(platform, ["cat"]), -vectors)
    assert not stored.exists()
    for damaged in (b"", b"noise", stored.with_suffix(".npy").read_bytes()[:-4]):
        stored.with_suffix(".npy").write_bytes(damaged)
        assert np.array_equal(embed_prompts(platform, ["cat"]), vectors)
        stored.unlink()


def test_embed_prompts__an_encoder_that_finds_no_meaning(platform: PlantedPlatform) -> None:
    def meaningless(prompts: Sequence[str]) -> np.ndarray:  # noqa: ARG001 - as the protocol names it
        return np.zeros((1, 4), np.float32)

    platform.encoder.embed_texts = meaningless  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"sentences of prompt 'cat' cancel out"):
        embed_prompts(platform, ["cat"])
