from collections.abc import Sequence
from pathlib import Path

import pytest

from data_miner_dagster.catalog.members import add_candidates
from data_miner_dagster.catalog.projects import delete_project, find_project, update_project
from data_miner_dagster.catalog.releases import add_release
from data_miner_dagster.catalog.schema import ReleaseRow
from data_miner_dagster.catalog.splits import add_splits, read_splits
from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.domain.errors import ClaimHeldError
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.export.manifest import CHECKSUMS_FILE, write_manifest
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reporting.previews import Preview, save_preview
from data_miner_dagster.operations.upkeep.removal import (
    Removal,
    remove_files,
    remove_project,
    remove_unwanted_videos,
    remove_videos,
    take_out_of_project,
)
from data_miner_dagster_tests.support.sample_project import FOUND_AT, build_project


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
    with platform.database.transaction() as session:
        row = ReleaseRow(project_name="cyclists", version=version, fingerprint="f", num_images=1, num_boxes=1)
        add_release(session, row)
    return folder


def test_remove_videos__none(platform: Platform) -> None:
    assert remove_videos(platform, []) == Removal((), {}, 0)
    assert remove_videos(platform, ["files-nowhere"]).kept == {"files-nowhere": "not in the catalog, or wanted again"}


def test_remove_videos__row_frames_and_embeddings_go_others_stay(platform: Platform) -> None:
    layout = platform.layout
    for key in ("files-aaa", "files-bbb"):
        save_preview(Preview(1, b"a sheet"), layout.video_preview(key))
    num_bytes = sum(path.stat().st_size for path in layout.frames_folder("files-aaa").iterdir()) + 5 + 7
    removal = remove_videos(platform, ["files-aaa"], force=True)
    assert removal == Removal(("files-aaa",), {}, num_bytes)
    assert find_video(platform.database, "files-aaa") is None
    assert not layout.frames_folder("files-aaa").exists()
    assert not layout.embedding_file("lite-conse", "files-aaa").exists()
    assert list(layout.video_previews.iterdir()) == [layout.video_preview("files-bbb")]
    assert layout.embedding_file("lite-conse", "files-bbb").exists()
    assert layout.frames_table("files-bbb").exists()


def test_remove_videos__wanted_or_busy_ones_stay(platform: Platform) -> None:
    with platform.hold_video("files-eee"):
        removal = remove_videos(platform, ["files-aaa", "files-eee"])
    assert removal.kept == {"files-aaa": "wanted by cyclists", "files-eee": "in use by a worker"}
    assert len(find_videos(platform.database)) == 5


def test_remove_videos__one_that_a_fault_meets_keeps_no_other(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(paths: Sequence[Path]) -> int:
        if any("files-bbb" in str(path) for path in paths):
            raise PermissionError(13, "Permission denied")
        return remove_files(paths)

    monkeypatch.setattr("data_miner_dagster.operations.upkeep.removal.remove_files", remove)
    removal = remove_videos(platform, ["files-aaa", "files-bbb", "files-ccc"], force=True)
    assert removal.removed == ("files-aaa", "files-ccc")
    assert list(removal.kept) == ["files-bbb"]
    assert removal.kept["files-bbb"].startswith("PermissionError: [Errno 13] Permission denied (operations/upkeep/")


def test_remove_unwanted_videos__after_the_only_project_went(platform: Platform) -> None:
    assert remove_unwanted_videos(platform).removed == ("files-eee",)
    delete_project(platform.database, "cyclists")
    assert len(remove_unwanted_videos(platform).removed) == 4


def test_remove_project__watched_file_does_not_bring_it_back(platform: Platform) -> None:
    file = platform.layout.project_files / "cyclists.yaml"
    file.parent.mkdir()
    file.write_text("name: cyclists\n")
    update_project(platform.database, "cyclists", config_file=str(file))
    released = publish(platform, "v1", "files-aaa")
    touched = remove_project(platform, "cyclists", with_files=True)
    assert touched == [file.with_name("cyclists.yaml.removed"), platform.layout.project_folder("cyclists")]
    assert not file.exists()
    assert released.exists()
    assert find_project(platform.database, "cyclists") is None
    assert len(find_videos(platform.database)) == 5


def test_remove_project__busy(platform: Platform) -> None:
    with platform.hold_project("cyclists"), pytest.raises(ClaimHeldError):
        remove_project(platform, "cyclists", with_files=True)
    assert find_project(platform.database, "cyclists") is not None


def test_take_out_of_project__stays_out_and_other_projects_keep_it(tmp_path: Path) -> None:
    platform = build_project(tmp_path, name="other", through="sourcing")
    build_project(tmp_path, through="sourcing")
    taken = take_out_of_project(platform, "cyclists", ["files-aaa", "files-zzz"])
    assert taken == Removal(("files-aaa",), {"files-zzz": "not a video of cyclists"}, 0)
    assert [row.key for row in find_videos(platform.database, project="cyclists")] == [
        "files-bbb",
        "files-ccc",
        "files-ddd",
    ]
    assert "files-aaa" in [row.key for row in find_videos(platform.database, project="other")]
    candidate = VideoCandidate("files-aaa", "u", "urls", "q", 0, FOUND_AT)

    def is_in(*, takes_back: bool) -> bool:
        with platform.database.transaction() as session:
            add_candidates(session, "cyclists", [(candidate, None)], takes_back=takes_back)
        return "files-aaa" in {row.key for row in find_videos(platform.database, project="cyclists")}

    assert not is_in(takes_back=False)  # listed again
    assert is_in(takes_back=True)  # `add-video`
    assert is_in(takes_back=False)


def test_remove_project__with_its_releases_its_memory_goes(platform: Platform) -> None:
    with platform.database.transaction() as session:
        add_splits(session, "cyclists", "train=1.0", {"files-aaa": "train"})
    preview = platform.layout.project_preview("cyclists", "dataset")
    save_preview(Preview(1, b"a sheet"), preview)
    remove_project(platform, "cyclists", with_files=False)
    assert not preview.exists()
    assert read_splits(platform.database, "cyclists", "train=1.0") == {"files-aaa": "train"}
    build_project(platform.root, through="sourcing")
    remove_project(platform, "cyclists", with_files=False, with_releases=True)
    assert read_splits(platform.database, "cyclists", "train=1.0") == {}
