"""Which members are ready, and why the others are not."""

from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.operations.members import FailedMember, failures_by_kind, project_members
from data_miner_dagster.storage.tables import TableIdentity, read_identity
from data_miner_dagster_tests.support.axis_project import (
    PlantedPlatform,
    plant_frames,
    save_project,
)
from data_miner_dagster_tests.support.catalog import add_video


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    return PlantedPlatform(tmp_path)


def test_project_members__no_members(platform: PlantedPlatform) -> None:
    save_project(platform)
    assert project_members(platform, "pets").ready == ()


def test_project_members__unknown_project(platform: PlantedPlatform) -> None:
    with pytest.raises(ConfigError, match="project 'pets' does not exist"):
        project_members(platform, "pets")


def test_project_members__each_member_in_one_list(platform: PlantedPlatform) -> None:
    save_project(platform)
    for key in ("local-b", "local-a"):
        add_video(platform.database, key, "pets", status=VideoStatus.EXTRACTED)
        plant_frames(platform, key, [[1, 0, 0, 0]])
    add_video(platform.database, "local-c", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-c", [[1, 0, 0, 0]], with_embeddings=False)
    add_video(platform.database, "local-d", "pets", status=VideoStatus.PENDING)
    add_video(
        platform.database,
        "local-e",
        "pets",
        status=VideoStatus.FAILED,
        error_kind=VideoErrorKind.TRUNCATED,
        error="planted",
    )
    add_video(
        platform.database,
        "local-f",
        "pets",
        status=VideoStatus.UNAVAILABLE,
        error_kind=VideoErrorKind.PRIVATE,
        error="planted",
    )
    add_video(
        platform.database,
        "local-g",
        "pets",
        member_status=ProjectVideoStatus.REJECTED,
        reason="duration: 3 s",
        status=VideoStatus.EXTRACTED,
    )
    plant_frames(platform, "local-g", [[1, 0, 0, 0]])
    add_video(
        platform.database, "local-h", "pets", status=VideoStatus.EXTRACTED
    )  # EXTRACTED in the catalog, but the frames are lost

    members = project_members(platform, "pets")

    assert [(member.video_key, member.num_frames) for member in members.ready] == [("local-a", 1), ("local-b", 1)]
    assert members.not_embedded == ("local-c",)
    assert members.unsettled == ("local-d", "local-h")
    assert members.failed == (
        FailedMember("local-e", VideoErrorKind.TRUNCATED, "planted"),
        FailedMember("local-f", VideoErrorKind.PRIVATE, "planted"),
    )


def test_project_members__new_frames_make_embeddings_stale(platform: PlantedPlatform) -> None:
    save_project(platform)
    add_video(platform.database, "local-a", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-a", [[1, 0, 0, 0]])
    plant_frames(platform, "local-a", [[1, 0, 0, 0]] * 2, frames_fingerprint="frames-2", with_embeddings=False)
    assert project_members(platform, "pets").not_embedded == ("local-a",)


def test_project_members__another_encoder_makes_embeddings_stale(platform: PlantedPlatform) -> None:
    save_project(platform)
    add_video(platform.database, "local-a", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-a", [[1, 0, 0, 0]])
    platform.encoder.fingerprint = "axis-2"
    assert project_members(platform, "pets").not_embedded == ("local-a",)


def test_project_members__one_that_a_fault_meets_has_failed(
    platform: PlantedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_project(platform)
    for key in ("local-a", "local-b"):
        add_video(platform.database, key, "pets", status=VideoStatus.EXTRACTED)
        plant_frames(platform, key, [[1, 0, 0, 0]])

    def read(path: Path) -> TableIdentity | None:
        if path.parent.name == "local-a":
            raise PermissionError("planted")
        return read_identity(path)

    monkeypatch.setattr("data_miner_dagster.storage.frames.read_identity", read)
    members = project_members(platform, "pets")
    assert [member.video_key for member in members.ready] == ["local-b"]
    (failed,) = members.failed
    assert (failed.video_key, failed.kind) == ("local-a", VideoErrorKind.INTERNAL_ERROR)
    assert failed.message.startswith("PermissionError: planted (storage/frames.py:")


def test_failures_by_kind__order_of_the_enum() -> None:
    assert failures_by_kind([]) == {}
    failed = [
        FailedMember("local-a", VideoErrorKind.TRUNCATED, ""),
        FailedMember("local-b", VideoErrorKind.PRIVATE, ""),
        FailedMember("local-c", VideoErrorKind.TRUNCATED, ""),
    ]
    assert list(failures_by_kind(failed).items()) == [("private", 1), ("truncated", 2)]
