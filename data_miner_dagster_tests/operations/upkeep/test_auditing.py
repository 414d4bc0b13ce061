"""Stale and missing files, identified from the catalog, with real clips and files and a simple encoder."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from data_miner_dagster.catalog.schema import ProjectRow, VideoRow
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_videos, record_downloaded
from data_miner_dagster.catalog.work_tables import PendingWorkRow, WorkBasisRow
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.records import OutcomeStatus, VideoFileRecord
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.members import project_members
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.upkeep.auditing import audit_files, audit_next, count_earlier_frames, settle_bases
from data_miner_dagster.operations.upkeep.inspection import Discrepancy, inspect_platform, mend_platform
from data_miner_dagster.storage.frames import frames_identity
from data_miner_dagster_tests.support.axis_project import save_project
from data_miner_dagster_tests.support.barcode_clips import make_clip
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.coloured_frames import ColourEncoder
from data_miner_dagster_tests.support.models import PlantedModels

KEYS = ["file-a", "file-b"]


def make_platform(root: Path, encoder: ColourEncoder, **settings: float) -> Platform:
    config = PlatformConfig(extraction=ExtractionConfig.model_validate({"workers": 1, **settings}))
    return Platform(config, root, models=PlantedModels(encoder))


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder("colour")


@pytest.fixture(scope="module")
def made_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with two extracted and embedded videos."""
    platform = make_platform(tmp_path_factory.mktemp("made") / "root", ColourEncoder("colour"))
    assert settle_bases(platform)
    save_project(platform, "bikes")
    for number, key in enumerate(KEYS):
        path = platform.layout.video_folder(key) / "video.mp4"
        path.parent.mkdir(parents=True)
        make_clip(path, num_frames=60 + number)
        add_video(platform.database, key, "bikes")
        with platform.database.transaction() as session:
            move_video(session, key, VideoStatus.DOWNLOADING)
            file = VideoFileRecord("video.mp4", path.stat().st_size, sha256_of_file(path), 2.0, 192, 128)
            record_downloaded(session, key, file)
    make(platform)
    platform.database.dispose()
    return platform.root


@pytest.fixture
def platform(made_root: Path, tmp_path: Path, encoder: ColourEncoder) -> Platform:
    shutil.copytree(made_root, tmp_path / "root")
    return make_platform(tmp_path / "root", encoder)


def make(platform: Platform) -> None:
    assert {outcome.status for outcome in extract_frames(platform, KEYS)} == {OutcomeStatus.DONE}
    assert pending(platform) == [("EMBEDDING", key) for key in KEYS]
    assert {outcome.status for outcome in embed_frames(platform, KEYS)} == {OutcomeStatus.DONE}
    assert pending(platform) == []


def pending(platform: Platform) -> list[tuple[str, str]]:
    with platform.database.reading() as session:
        return sorted((row.stage.value, row.video_key) for row in session.scalars(select(PendingWorkRow)))


def content_version(platform: Platform) -> int:
    with platform.database.reading() as session:
        return session.get_one(ProjectRow, "bikes").content_version


def test_settle_bases__other_settings_make_frames_stale_then_embeddings(
    platform: Platform, encoder: ColourEncoder
) -> None:
    before = content_version(platform)
    other = make_platform(platform.root, encoder, every_seconds=0.5)
    assert settle_bases(other)
    assert pending(other) == [("EXTRACTION", key) for key in KEYS]
    assert content_version(other) > before
    make(other)
    assert settle_bases(other)
    assert pending(other) == []


def test_settle_bases__other_weights_make_embeddings_stale(platform: Platform, encoder: ColourEncoder) -> None:
    encoder.fingerprint = "colour-2"
    assert settle_bases(platform)
    assert pending(platform) == [("EMBEDDING", key) for key in KEYS]
    embed_frames(platform, KEYS)
    assert pending(platform) == []


def test_settle_bases__an_earlier_catalog_learns_from_the_files_and_redoes_nothing(platform: Platform) -> None:
    platform.layout.embedding_file("colour", "file-b").unlink()
    with platform.database.transaction() as session:
        session.execute(update(VideoRow).values(frames_basis=None, embedding_basis=None))
        session.execute(delete(PendingWorkRow))
        session.execute(delete(WorkBasisRow))
    assert not settle_bases(platform, max_seconds=0)
    assert pending(platform) == [("EMBEDDING", "file-b")]
    assert settle_bases(platform)
    assert pending(platform) == [("EMBEDDING", "file-b")]
    assert count_earlier_frames(platform) == {}


def test_audit_next__what_was_taken_away_is_asked_for_again(platform: Platform) -> None:
    assert audit_next(platform, None, max_videos=1) == "file-a"
    assert audit_next(platform, "file-a", max_videos=2) is None
    assert pending(platform) == []
    before = content_version(platform)
    shutil.rmtree(platform.layout.frames_folder("file-a"))
    platform.layout.embedding_file("colour", "file-b").unlink()
    assert audit_next(platform, None, max_videos=1) == "file-a"
    assert pending(platform) == [("EXTRACTION", "file-a")]
    assert audit_files(platform, KEYS).changed == ("file-b",)
    assert pending(platform) == [("EMBEDDING", "file-b"), ("EXTRACTION", "file-a")]
    assert content_version(platform) > before
    assert {outcome.status for outcome in extract_frames(platform, KEYS)} == {OutcomeStatus.DONE, OutcomeStatus.REUSED}
    embed_frames(platform, KEYS)
    assert pending(platform) == []


def test_mend_platform__embeddings_that_are_gone_are_asked_for_again(platform: Platform) -> None:
    assert inspect_platform(platform) == []
    platform.layout.embedding_file("colour", "file-b").unlink()
    findings = inspect_platform(platform)
    assert [(finding.drift, finding.subject) for finding in findings] == [(Discrepancy.EMBEDDINGS_MISSING, "file-b")]
    assert mend_platform(platform, findings) == 1
    assert inspect_platform(platform) == []
    assert pending(platform) == [("EMBEDDING", "file-b")]
    platform.layout.embedding_file("colour", "file-a").write_bytes(b"noise")
    assert mend_platform(platform, inspect_platform(platform)) == 1
    assert pending(platform) == [("EMBEDDING", key) for key in KEYS]


def test_project_members__ask_again_for_what_they_miss(platform: Platform) -> None:
    shutil.rmtree(platform.layout.frames_folder("file-a"))
    platform.layout.embedding_file("colour", "file-b").unlink()
    members = project_members(platform, "bikes")
    assert (members.unsettled, members.not_embedded) == (("file-a",), ("file-b",))
    assert pending(platform) == [("EMBEDDING", "file-b"), ("EXTRACTION", "file-a")]


def test_extract_frames__stale_frames_stay_where_no_others_can_be_made(
    platform: Platform, encoder: ColourEncoder
) -> None:
    stored = frames_identity(platform.layout, "file-a")
    (platform.layout.video_folder("file-a") / "video.mp4").write_bytes(b"noise")
    other = make_platform(platform.root, encoder, every_seconds=0.5)
    settle_bases(other)
    assert [outcome.status for outcome in extract_frames(other, KEYS)] == [OutcomeStatus.FAILED, OutcomeStatus.DONE]
    assert {row.status for row in find_videos(other.database, KEYS)} == {VideoStatus.EXTRACTED}
    assert frames_identity(platform.layout, "file-a") == stored
    embed_frames(other, KEYS)
    assert pending(other) == []  # nothing is pending until something changes
    assert settle_bases(make_platform(platform.root, encoder, every_seconds=0.25))
    assert pending(other) == [("EXTRACTION", key) for key in KEYS]
