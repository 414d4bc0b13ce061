import json
import shutil
from pathlib import Path
from typing import Any

from data_miner_dagster.catalog.splits import delete_memory_of_project, read_splits
from data_miner_dagster.domain.json_records import from_json
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.export.differences import ReleaseDifference
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.split_memory import read_manifests, remembered_splits
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

SHARES = {"train": 0.8, "test": 0.1, "val": 0.1}
TEXT = "train=0.8,test=0.1,val=0.1"
BY_HASH_IN_TEST = "files-x14"
BY_HASH_IN_TRAIN = "files-x0"


def release(root: Path, *videos: SampleVideo, **sections: Any) -> dict[str, Any]:
    platform = build_project(root, videos=videos, **sections)
    version = str(release_project(platform, "cyclists").metadata["version"])
    folder = platform.layout.release_folder("cyclists", version)
    content: dict[str, Any] = json.loads((folder / "release.json").read_text())
    return content


def splits_of(content: dict[str, Any]) -> dict[str, str]:
    splits: dict[str, str] = content["splits"]["by_video"]
    return splits


def with_nothing_kept(key: str) -> SampleVideo:
    return SampleVideo(key, dropped=dict.fromkeys(range(4), "blurred"))


def test_release__a_video_that_was_away_comes_back_to_its_split(tmp_path: Path) -> None:
    first = release(tmp_path, SampleVideo(BY_HASH_IN_TEST))
    assert splits_of(first) == {BY_HASH_IN_TEST: "train"}  # alone: train is not left empty
    second = release(tmp_path, with_nothing_kept(BY_HASH_IN_TEST), SampleVideo(BY_HASH_IN_TRAIN))
    assert splits_of(second) == {BY_HASH_IN_TRAIN: "train"}
    third = release(tmp_path, SampleVideo(BY_HASH_IN_TEST), SampleVideo(BY_HASH_IN_TRAIN))
    assert splits_of(third) == {BY_HASH_IN_TEST: "train", BY_HASH_IN_TRAIN: "train"}


def test_release__splits_outlive_the_folders_of_releases(tmp_path: Path) -> None:
    release(tmp_path, SampleVideo(BY_HASH_IN_TEST))
    shutil.rmtree(tmp_path / "releases")
    after = release(tmp_path, SampleVideo(BY_HASH_IN_TEST), SampleVideo(BY_HASH_IN_TRAIN))
    assert splits_of(after)[BY_HASH_IN_TEST] == "train"


def test_release__splits_of_an_older_root_are_taken_from_its_releases(tmp_path: Path) -> None:
    release(tmp_path, SampleVideo(BY_HASH_IN_TEST))
    platform = build_project(tmp_path, videos=[])
    with platform.database.transaction() as session:
        delete_memory_of_project(session, "cyclists")
    release(tmp_path, with_nothing_kept(BY_HASH_IN_TEST), SampleVideo(BY_HASH_IN_TRAIN))
    assert read_splits(platform.database, "cyclists", TEXT) == {
        BY_HASH_IN_TEST: "train",
        BY_HASH_IN_TRAIN: "train",
    }
    assert remembered_splits(platform, "cyclists", {"train": 1.0}, read_manifests(platform, "cyclists")) == {}


def test_release__other_shares_draw_again_and_the_changes_say_so(tmp_path: Path) -> None:
    videos = [SampleVideo(f"files-x{index}") for index in (0, 1, 3, 14)]
    before = splits_of(release(tmp_path, *videos))
    assert before[BY_HASH_IN_TEST] == "test"
    release(tmp_path, videos[0])  # the release between knows nothing of it
    content = release(tmp_path, *videos, releasing={"splits": {"train": 1.0}})
    assert set(splits_of(content).values()) == {"train"}
    moved = from_json(ReleaseDifference, content["changes"])
    assert (BY_HASH_IN_TEST, "test", "train") in moved.videos_moved
    assert "in another split" in moved.as_line
    back = release(tmp_path, *videos[1:])
    assert splits_of(back) == {key: split for key, split in before.items() if key != "files-x0"}


def test_release__a_link_between_splits_moves_nothing_and_is_told(tmp_path: Path) -> None:
    videos = [SampleVideo(BY_HASH_IN_TRAIN), SampleVideo(BY_HASH_IN_TEST)]
    before = release(tmp_path, *videos)
    assert splits_of(before) == {BY_HASH_IN_TRAIN: "train", BY_HASH_IN_TEST: "test"}
    assert "divided_groups" not in before["splits"]
    linked = SampleVideo(BY_HASH_IN_TEST, duplicates={0: (f"{BY_HASH_IN_TRAIN}/000001", "across_videos")})
    after = release(tmp_path, videos[0], linked)
    assert splits_of(after) == splits_of(before)
    assert after["splits"]["divided_groups"] == [[BY_HASH_IN_TRAIN, BY_HASH_IN_TEST]]
    told = f"{BY_HASH_IN_TRAIN} (train), {BY_HASH_IN_TEST} (test)"
    assert told in (tmp_path / "releases" / "cyclists" / after["version"] / "datasheet.md").read_text()
    assert told in (tmp_path / "reports" / "cyclists" / "index.html").read_text()


def test_release__a_skipped_reupload_has_the_split_of_its_original_should_it_be_used(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=[SampleVideo(BY_HASH_IN_TRAIN), SampleVideo("files-x1")])
    add_video(
        platform.database,
        BY_HASH_IN_TEST,
        "cyclists",
        duplicate_of=BY_HASH_IN_TRAIN,
        member_status=ProjectVideoStatus.REJECTED,
        reason=f"reupload: the same video as {BY_HASH_IN_TRAIN}",
    )
    release_project(platform, "cyclists")
    known = read_splits(platform.database, "cyclists", TEXT)
    assert known[BY_HASH_IN_TEST] == known[BY_HASH_IN_TRAIN] == "train"
