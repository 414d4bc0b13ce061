import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_miner_dagster.catalog.splits import add_splits, delete_memory_of_project, read_splits
from data_miner_dagster.domain.json_records import from_json
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.export.differences import ReleaseDifference
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.split_memory import read_manifests, remembered_splits
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project, project_config

SHARES = {"train": 0.8, "test": 0.1, "val": 0.1}
TEXT = "train=0.8,test=0.1,val=0.1"
LARGE = SampleVideo("files-large", num_frames=9)
"""Assigned to the training split if the other videos are smaller."""
SMALL = SampleVideo("files-small", num_frames=5)
OTHER = SampleVideo("files-other", num_frames=5)
HUGE = SampleVideo("files-zzz", num_frames=30)


def release(root: Path, *videos: SampleVideo, **sections: Any) -> dict[str, Any]:
    platform = build_project(root, videos=videos, **sections)
    version = str(release_project(platform, "cyclists").metadata["version"])
    folder = platform.layout.release_folder("cyclists", version)
    content: dict[str, Any] = json.loads((folder / "release.json").read_text())
    return content


def splits_of(content: dict[str, Any]) -> dict[str, str]:
    splits: dict[str, str] = content["splits"]["by_video"]
    return splits


def with_nothing_kept(video: SampleVideo) -> SampleVideo:
    return replace(video, dropped=dict.fromkeys(range(video.num_frames), "blurred"))


def test_release__a_video_that_was_away_comes_back_to_its_split(tmp_path: Path) -> None:
    first = splits_of(release(tmp_path, LARGE, SMALL, OTHER))
    assert first[LARGE.key] == "train"
    second = splits_of(release(tmp_path, with_nothing_kept(LARGE), SMALL, OTHER, HUGE))
    assert second == {SMALL.key: first[SMALL.key], OTHER.key: first[OTHER.key], HUGE.key: "train"}
    third = splits_of(release(tmp_path, LARGE, SMALL, OTHER, HUGE))
    assert third == {**first, HUGE.key: "train"}  # a new draw would give the two small videos other splits


def test_release__splits_outlive_the_folders_of_releases(tmp_path: Path) -> None:
    first = splits_of(release(tmp_path, LARGE, SMALL, OTHER))
    shutil.rmtree(tmp_path / "releases")
    assert splits_of(release(tmp_path, LARGE, SMALL, OTHER, HUGE)).items() > first.items()


def test_release__splits_of_an_older_root_are_taken_from_its_releases(tmp_path: Path) -> None:
    first = splits_of(release(tmp_path, LARGE, SMALL, OTHER))
    platform = build_project(tmp_path, videos=[])
    with platform.database.transaction() as session:
        delete_memory_of_project(session, "cyclists")
    release(tmp_path, with_nothing_kept(LARGE), SMALL, OTHER, HUGE)
    assert read_splits(platform.database, "cyclists", TEXT) == {**first, HUGE.key: "train"}
    others = project_config(releasing={"splits": {"train": 1.0}}).releasing
    assert remembered_splits(platform, "cyclists", others, read_manifests(platform, "cyclists")) == {}


def test_release__splits_that_were_drawn_by_an_earlier_version_stay(tmp_path: Path) -> None:
    by_hash = {LARGE.key: "test", SMALL.key: "train", OTHER.key: "test"}  # no draw would give this result now
    platform = build_project(tmp_path, videos=[])
    with platform.database.transaction() as session:
        add_splits(session, "cyclists", TEXT, by_hash)
    assert splits_of(release(tmp_path, LARGE, SMALL, OTHER)) == by_hash
    after = splits_of(release(tmp_path, LARGE, SMALL, OTHER, HUGE))
    assert after == {**by_hash, HUGE.key: "val"}  # the split that was empty


def test_release__one_video_that_an_earlier_version_released_stays_whole(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=[])
    with platform.database.transaction() as session:
        add_splits(session, "cyclists", TEXT, {LARGE.key: "train"})
    assert splits_of(release(tmp_path, LARGE)) == {LARGE.key: "train"}


def test_release__other_shares_draw_again_and_the_changes_say_so(tmp_path: Path) -> None:
    before = splits_of(release(tmp_path, LARGE, SMALL, OTHER))
    release(tmp_path, LARGE)  # the release in between does not contain the others
    content = release(tmp_path, LARGE, SMALL, OTHER, releasing={"splits": {"train": 1.0}})
    assert set(splits_of(content).values()) == {"train"}
    moved = from_json(ReleaseDifference, content["changes"])
    assert (SMALL.key, before[SMALL.key], "train") in moved.videos_moved
    assert "in another split" in moved.as_line
    back = release(tmp_path, SMALL, OTHER)
    assert splits_of(back) == {key: split for key, split in before.items() if key != LARGE.key}


def test_release__a_link_between_splits_moves_nothing_and_is_told(tmp_path: Path) -> None:
    before = release(tmp_path, LARGE, SMALL, OTHER)
    assert "divided_groups" not in before["splits"]
    linked = replace(SMALL, duplicates={0: (f"{LARGE.key}/000001", "across_videos")})
    after = release(tmp_path, LARGE, linked, OTHER)
    assert splits_of(after) == splits_of(before)
    assert after["splits"]["divided_groups"] == [[LARGE.key, SMALL.key]]
    told = f"{LARGE.key} (train), {SMALL.key} ({splits_of(before)[SMALL.key]})"
    assert told in (tmp_path / "releases" / "cyclists" / after["version"] / "datasheet.md").read_text()
    assert told in (tmp_path / "reports" / "cyclists" / "index.html").read_text()


def test_release__a_skipped_reupload_has_the_split_of_its_original_should_it_be_used(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=[LARGE, SMALL, OTHER])
    add_video(
        platform.database,
        HUGE.key,
        "cyclists",
        duplicate_of=LARGE.key,
        member_status=ProjectVideoStatus.REJECTED,
        reason=f"reupload: the same video as {LARGE.key}",
    )
    release_project(platform, "cyclists")
    known = read_splits(platform.database, "cyclists", TEXT)
    assert known[HUGE.key] == known[LARGE.key] == "train"
