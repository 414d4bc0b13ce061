from pathlib import Path

import pyarrow as pa
import pytest

from data_miner_dagster.catalog.schema import ReleaseRow, VideoRow
from data_miner_dagster.catalog.upkeep import delete_project
from data_miner_dagster.domain.errors import ClaimHeldError, ConfigError
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.export.manifest import CHECKSUMS_FILE, write_manifest
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.removal import (
    Removal,
    forget_videos,
    remove_project,
    remove_unwanted_videos,
    remove_videos,
)
from data_miner_dagster.storage.tables import read_fingerprint, read_table, write_table
from data_miner_dagster_tests.builders import FOUND_AT, build_project


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    platform = build_project(tmp_path, through="deduplication")
    for key in ("files-aaa", "files-bbb"):
        file = platform.layout.embedding_file("lite-conse", key)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345")
    return platform


def publish(platform: Platform, version: str, *video_keys: str) -> Path:
    folder = platform.layout.release_folder("cyclists", version)
    folder.mkdir(parents=True)
    (folder / CHECKSUMS_FILE).touch()
    write_manifest(folder, {"splits": {"by_video": dict.fromkeys(video_keys, "train")}}, num_files=0)
    with platform.catalog.database.transaction() as session:
        row = ReleaseRow(project_name="cyclists", version=version, fingerprint="f", num_images=1, num_boxes=1)
        platform.catalog.add_release(session, row)
    return folder


def test_remove_videos__none(platform: Platform) -> None:
    assert remove_videos(platform, []) == Removal((), {}, 0)
    assert remove_videos(platform, ["files-nowhere"]).kept == {"files-nowhere": "not in the catalog, or wanted by now"}


def test_remove_videos__row_frames_and_embeddings_go_others_stay(platform: Platform) -> None:
    layout = platform.layout
    num_bytes = sum(path.stat().st_size for path in layout.frames_folder("files-aaa").iterdir()) + 5
    removal = remove_videos(platform, ["files-aaa"], force=True)
    assert removal == Removal(("files-aaa",), {}, num_bytes)
    assert platform.catalog.video("files-aaa") is None
    assert not layout.frames_folder("files-aaa").exists()
    assert not layout.embedding_file("lite-conse", "files-aaa").exists()
    assert layout.embedding_file("lite-conse", "files-bbb").exists()
    assert layout.frames_table("files-bbb").exists()


def test_remove_videos__wanted_or_busy_ones_stay(platform: Platform) -> None:
    with platform.hold_video("files-eee"):
        removal = remove_videos(platform, ["files-aaa", "files-eee"])
    assert removal.kept == {"files-aaa": "wanted by cyclists", "files-eee": "being worked on"}
    assert len(platform.catalog.videos()) == 5


def test_remove_unwanted_videos__after_the_only_project_went(platform: Platform) -> None:
    assert remove_unwanted_videos(platform).removed == ("files-eee",)
    delete_project(platform.catalog.database, "cyclists")
    assert len(remove_unwanted_videos(platform).removed) == 4


def test_remove_project__watched_file_does_not_bring_it_back(platform: Platform) -> None:
    file = platform.layout.project_files / "cyclists.yaml"
    file.parent.mkdir()
    file.write_text("name: cyclists\n")
    platform.catalog.update_project("cyclists", config_file=str(file))
    released = publish(platform, "v1", "files-aaa")
    touched = remove_project(platform, "cyclists", with_files=True)
    assert touched == [file.with_name("cyclists.yaml.removed"), platform.layout.project_folder("cyclists")]
    assert not file.exists()
    assert released.exists()
    assert platform.catalog.project("cyclists") is None
    assert len(platform.catalog.videos()) == 5


def test_remove_project__busy(platform: Platform) -> None:
    with platform.hold_project("cyclists"), pytest.raises(ClaimHeldError):
        remove_project(platform, "cyclists", with_files=True)
    assert platform.catalog.project("cyclists") is not None


def test_forget_videos__everything_derived_goes_and_releases_are_marked(platform: Platform) -> None:
    layout = platform.layout
    parts = layout.detection_parts("cyclists")
    table = pa.table({"frame_id": ["files-aaa/000001", "files-aaab/000001", "files-bbb/000001"], "n": [1, 2, 3]})
    write_table(parts / "x.parquet", table, fingerprint="detector", metadata={"a": "b"})
    layout.report_folder("cyclists").mkdir(parents=True)
    with_it, without_it = publish(platform, "v1", "files-aaa", "files-bbb"), publish(platform, "v2", "files-bbb")
    forgetting = forget_videos(platform, "files-aaa", reason="asked by its author")
    assert forgetting.removal.removed == ("files-aaa",)
    assert forgetting.withdrawn_releases == ("cyclists v1",)
    assert platform.catalog.video("files-aaa") is None
    assert not layout.filtered_table("cyclists").exists()
    assert not layout.report_folder("cyclists").exists()
    project = platform.catalog.project("cyclists")
    assert project is not None
    assert project.stage is ProjectStage.POPULATING
    assert read_table(parts / "x.parquet")["n"].to_pylist() == [2, 3]
    assert read_fingerprint(parts / "x.parquet") == "detector"
    assert "files-aaa removed: asked by its author" in (with_it / "WITHDRAWN.txt").read_text()
    assert not (without_it / "WITHDRAWN.txt").exists()
    reasons = {row.version: row.withdrawn_reason for row in platform.catalog.releases("cyclists")}
    assert "asked by its author" in str(reasons["v1"])
    assert reasons["v2"] is None
    candidate = VideoCandidate("files-aaa", "u", "urls", "q", 0, FOUND_AT)
    assert platform.catalog.without_forgotten([candidate]) == []


def test_forget_videos__channel_stays_out(platform: Platform) -> None:
    with platform.catalog.database.transaction() as session:
        for key in ("files-aaa", "files-bbb"):
            session.get_one(VideoRow, key).channel_id = "UC1"
    assert forget_videos(platform, "UC1", reason="asked").removal.removed == ("files-aaa", "files-bbb")
    new = VideoCandidate("files-new", "u", "urls", "q", 0, FOUND_AT, channel_id="UC1")
    other = VideoCandidate("files-other", "u", "urls", "q", 1, FOUND_AT)
    assert platform.catalog.without_forgotten([new, other]) == [other]
    with pytest.raises(ConfigError):
        forget_videos(platform, "UC1", reason="asked")


def test_forget_videos__releases_removed_where_that_was_asked(platform: Platform) -> None:
    folder = publish(platform, "v1", "files-aaa")
    forget_videos(platform, "files-aaa", reason="asked", delete_releases=True)
    assert not folder.exists()
    assert platform.catalog.releases("cyclists")[0].withdrawn_reason is not None
