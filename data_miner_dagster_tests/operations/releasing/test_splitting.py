"""Every way of splitting that a project file can request, from the project's tables to the release."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from data_miner_dagster.catalog.splits import read_splits
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.releasing.exporting import export_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.standing import list_releases
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

BOXES = {index: [("person", 0.9, (4.0, 6.0, 40.0, 30.0))] for index in range(40)}
LONG = SampleVideo("files-long", num_frames=40, boxes=BOXES)
CUT = "train 0.000-29.050, test 31.000-34.050, val 36.000-end"  # each gap is a twentieth of the 39 s


def release(root: Path, *videos: SampleVideo, **releasing: Any) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the manifest of the next release."""
    platform = build_project(root, videos=videos, releasing=releasing)
    version = str(release_project(platform, "cyclists").metadata["version"])
    folder = platform.layout.release_folder("cyclists", version)
    return folder, json.loads((folder / "release.json").read_text())


def images_of(folder: Path) -> dict[str, list[int]]:
    """Return the times of the images in seconds, by split."""
    names = sorted(path.relative_to(folder / "images") for path in (folder / "images").rglob("*.jpg"))
    found: dict[str, list[int]] = {}
    for name in names:
        found.setdefault(name.parts[0], []).append(int(name.stem.rpartition("_")[2]))
    return found


def test_release_project__one_video_is_cut_in_time(tmp_path: Path) -> None:
    folder, content = release(tmp_path, LONG)
    assert content["splits"]["by_video"] == {"files-long": CUT}
    assert images_of(folder) == {"train": [*range(30)], "test": [31, 32, 33, 34], "val": [36, 37, 38, 39]}
    assert content["images_by_split"] == {"train": 30, "test": 4, "val": 4}
    assert (content["frames"]["between_blocks"], content["frames"]["not_chosen"]) == (2, 0)
    assert content["frames"]["looked_at"] == 40
    data = (folder / "data.yaml").read_text()
    assert "files-long: divided between the splits by time, with gaps between them" in data
    assert yaml.safe_load(data)["val"] == "images/val"
    assert f"files-long is divided by time (in seconds: {CUT})" in (folder / "datasheet.md").read_text()
    assert "divided between the splits by time" in (tmp_path / "reports" / "cyclists" / "index.html").read_text()
    images = pd.read_parquet(folder / "data" / "images.parquet")
    assert images["image_id"].tolist() == list(range(1, 39))
    assert pd.read_parquet(folder / "data" / "videos.parquet")["split"].tolist() == [CUT]
    platform = build_project(tmp_path, videos=[LONG])
    assert release_project(platform, "cyclists").metadata["version"] == "v001"  # nothing has changed
    exported = export_release(platform, "cyclists", to=tmp_path / "out", format="yolo")
    assert exported.num_images == 38


def test_release_project__a_cut_outlives_the_arrival_of_others(tmp_path: Path) -> None:
    before, _ = release(tmp_path, LONG)
    newcomers = [SampleVideo(f"files-new{index}") for index in range(12)]
    after, content = release(tmp_path, LONG, *newcomers)
    splits = content["splits"]["by_video"]
    assert splits["files-long"] == CUT
    assert {splits[video.key] for video in newcomers} <= {"train", "test", "val"}
    old = [path.relative_to(before) for path in before.rglob("files-long_*.jpg")]
    assert all((after / path).is_file() for path in old)


def test_release_project__two_videos_and_a_prescribed_gap(tmp_path: Path) -> None:
    _, content = release(tmp_path, LONG, SampleVideo("files-short", num_frames=10), guard_seconds=0.0)
    assert content["splits"]["by_video"] == {
        "files-long": "train 0.000-32.000, test 32.000-36.000, val 36.000-end",
        "files-short": "train 0.000-8.000, test 8.000-9.000, val 9.000-end",
    }


def test_release_project__a_video_too_short_to_cut_trains_beside_one_that_is_cut(tmp_path: Path) -> None:
    _, content = release(tmp_path, LONG, SampleVideo("files-short", num_frames=2))
    assert content["splits"]["by_video"] == {"files-long": CUT, "files-short": "train"}


def test_release_project__limits_and_licences_are_in_card_datasheet_and_report(tmp_path: Path) -> None:
    folder, content = release(tmp_path, LONG, SampleVideo("files-b", num_frames=4), SampleVideo("files-c"))
    limits = content["limits"]
    assert "one video provides 83% of the images: files-long" in limits  # 40 of 48 images
    assert "all images come from one channel, Example channel" in limits
    assert "the class person has 40 boxes" in limits
    assert "the class person has no box in test and val" in limits
    assert "the class bicycle has no box" in limits
    page = tmp_path / "reports" / "cyclists" / "index.html"
    for text in ((folder / "README.md").read_text(), (folder / "datasheet.md").read_text(), page.read_text()):
        assert all(limit in text for limit in limits)
        assert "CC-BY-4.0" in text
        assert "videos.example" in text
    platform = build_project(tmp_path, videos=[LONG, SampleVideo("files-b"), SampleVideo("files-c")])
    export_release(platform, "cyclists", to=tmp_path / "hub", format="huggingface", version=content["version"])
    assert "one video provides 83% of the images" in (tmp_path / "hub" / "README.md").read_text()


def test_release_project__too_short_to_cut(tmp_path: Path) -> None:
    folder, content = release(tmp_path, SampleVideo("files-short", num_frames=2))
    assert content["splits"]["by_video"] == {"files-short": "train"}
    assert "no video fell into val" in (folder / "data.yaml").read_text()


def test_release_project__videos_of_a_channel_share_a_split(tmp_path: Path) -> None:
    videos = [SampleVideo(f"files-{index}") for index in range(4)]  # all from one channel
    _, apart = release(tmp_path, *videos)
    assert set(apart["splits"]["by_video"].values()) == {"train", "test", "val"}
    folder, together = release(tmp_path, *videos, group_by="channel")
    assert set(together["splits"]["by_video"].values()) == {"train"}  # the splits are drawn again
    assert together["splits"]["group_by"] == "channel"
    assert "and videos of one channel," in (folder / "datasheet.md").read_text()
    platform = build_project(tmp_path, videos=videos, releasing={"group_by": "channel"})
    shares = "train=0.8,test=0.1,val=0.1"
    assert read_splits(platform.database, "cyclists", shares) == apart["splits"]["by_video"]
    by_channel = read_splits(platform.database, "cyclists", f"{shares};group_by=channel")
    assert by_channel == together["splits"]["by_video"]


def test_release_project__a_fixed_list_comes_before_what_is_remembered(tmp_path: Path) -> None:
    videos = [SampleVideo(f"files-{index}", num_frames=4 + index) for index in range(4)]
    _, drawn = release(tmp_path, *videos)
    assert drawn["splits"]["by_video"]["files-3"] == "train"
    fixed = {"val": ["files-3"], "test": ["files-0"]}
    _, content = release(tmp_path, *videos, fixed_splits=fixed)
    assert content["splits"]["by_video"].items() >= {"files-3": "val", "files-0": "test"}.items()
    _, again = release(tmp_path, *videos, fixed_splits=fixed)
    assert again == content
    with pytest.raises(ConfigError, match=r"fixed_splits names 'files-9', which is not a video of the project"):
        release(tmp_path, *videos, fixed_splits={"val": ["files-9"]})


def test_release_project__folds(tmp_path: Path) -> None:
    videos = [SampleVideo(f"files-{index}") for index in range(10)]
    folder, content = release(tmp_path, *videos, folds=3)
    assert list(content["images_by_split"]) == ["fold_1", "fold_2", "fold_3", "test"]
    assert content["images_by_split"] == {"fold_1": 12, "fold_2": 12, "fold_3": 12, "test": 4}
    second = yaml.safe_load((folder / "data_fold_2.yaml").read_text())
    assert {name: second[name] for name in ("train", "val", "test")} == {
        "train": ["images/fold_1", "images/fold_3"],
        "val": "images/fold_2",
        "test": "images/test",
    }
    assert yaml.safe_load((folder / "data.yaml").read_text())["val"] == "images/fold_1"


def test_release_project__another_gap_moves_no_image_between_splits(tmp_path: Path) -> None:
    before, _ = release(tmp_path, LONG)
    after, content = release(tmp_path, LONG, guard_seconds=4.0)
    wider = "train 0.000-27.000, test 31.000-32.000, val 36.000-end"  # every block begins at the same time as before
    assert content["splits"]["by_video"] == {"files-long": wider}
    assert images_of(after) == {"train": [*range(27)], "test": [31], "val": [36, 37, 38, 39]}
    assert content["frames"]["between_blocks"] == 8
    assert content["changes"]["videos_moved"] == [["files-long", CUT, wider]]
    platform = build_project(tmp_path, videos=[LONG], releasing={"guard_seconds": 4.0})
    summary = list_releases(platform, "cyclists")[-1]
    assert "other gaps between the splits of 1 video" in summary.changes
    assert "another split" not in summary.changes
    assert (
        f"files-long is cut at the same times, with other gaps: {CUT} became {wider}"
        in (after / "datasheet.md").read_text()
    )
    _, same = release(tmp_path, LONG, guard_seconds=4.0)
    assert same["version"] == "v002"
    assert release(tmp_path, LONG)[0] == before  # without the setting, the original gaps are restored
    _, kept = release(tmp_path, LONG, guard_seconds=6.0)  # this gap would leave nothing of the test split
    assert kept["splits"]["by_video"] == {"files-long": CUT}
    assert kept["splits"]["gaps_as_before"] == ["files-long"]
    assert any("keeps its earlier gaps" in limit for limit in kept["limits"])


def test_release_project__gaps_are_counted_wherever_the_cut_video_stands(tmp_path: Path) -> None:
    release(tmp_path, LONG)
    newcomers = [SampleVideo(f"files-a{index}") for index in range(3)]  # sorted before the cut video
    _, content = release(tmp_path, LONG, *newcomers)
    assert (content["frames"]["between_blocks"], content["frames"]["not_chosen"]) == (2, 0)
