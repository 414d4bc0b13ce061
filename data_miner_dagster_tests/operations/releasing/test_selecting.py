from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from data_miner_dagster.config.selecting import SelectionConfig
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.selecting import try_selection
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Return a project with seven images from three videos of one channel: two with a person, two with a bicycle."""
    return build_project(tmp_path_factory.mktemp("selecting") / "root")


def _released(platform: Platform) -> pd.DataFrame:
    return pd.read_parquet(platform.layout.release_folder("cyclists", "v001") / "data" / "images.parquet")


def test_try_selection__holds_limits_and_counts_classes(platform: Platform) -> None:
    found = try_selection(platform, "cyclists", SelectionConfig(count=7, balance="class", max_per_video=1))
    videos = Counter(frame_id.partition("/")[0] for frame_id in found.frame_ids)
    assert videos == {"files-aaa": 1, "files-bbb": 1, "files-ccc": 1}
    assert (found.num_candidates, found.num_videos, found.most_of_a_video) == (7, 3, 1)
    assert found.images_by_class == {"person": (2, 2), "bicycle": (1, 2)}  # one of the two bicycles is beside a person
    assert found.covering_radius is None


def test_try_selection__a_channel_has_room_for_few(platform: Platform) -> None:
    wish = SelectionConfig(count=7, max_per_channel=1)
    found = try_selection(platform, "cyclists", wish)
    assert len(found.frame_ids) == 1


def test_release_project__of_the_images_that_the_configuration_asks_for(tmp_path: Path) -> None:
    wish = {"count": 2, "uncertain": True}
    platform = build_project(tmp_path / "root", releasing={"select": wish})
    release_project(platform, "cyclists")
    # at .5 and .3, nearest to the threshold of .3
    assert sorted(_released(platform)["frame_id"]) == ["files-aaa/000003", "files-bbb/000001"]
    manifest = read_manifest(platform.layout.release_folder("cyclists", "v001"))
    assert manifest is not None
    assert manifest["selection"] == {"select": {**wish, "diverse": False}, "num_candidates": 7}
    assert release_project(platform, "cyclists").status.value == "reused"
    build_project(tmp_path / "root")  # the selection is removed from the project file
    assert release_project(platform, "cyclists").counts["images"] == 7


@pytest.mark.models
def test_try_selection__diverse_images_by_their_embeddings(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    wish = SelectionConfig(count=3, diverse=True)
    found = try_selection(platform, "cyclists", wish)
    assert len(found.frame_ids) == 3
    assert found.covering_radius is not None
    assert try_selection(platform, "cyclists", wish) == found
    every = try_selection(platform, "cyclists", SelectionConfig(count=7, diverse=True))
    assert every.covering_radius == pytest.approx(0, abs=1e-3)


@pytest.mark.models
def test_release_project__lists_the_encoder_that_only_the_choice_uses(tmp_path: Path) -> None:
    releasing = {"select": {"count": 2, "diverse": True}}
    platform = build_project(tmp_path / "root", deduplication={"encoder": "filter"}, releasing=releasing)
    release_project(platform, "cyclists")
    manifest = read_manifest(platform.layout.release_folder("cyclists", "v001"))
    assert manifest is not None
    names = [(model["role"], model["name"]) for model in manifest["models"]]
    assert ("image selection", "lite-efficientnet") in names
    assert "near-duplicates" not in dict(names)
    examined = {model["role"]: model["num_images"] for model in manifest["effort"]["models"]}
    assert examined == {"frame filter": 12, "image selection": 7, "detector": 7}


def test_release_project__a_choice_on_a_cut_video_takes_no_image_of_a_gap(tmp_path: Path) -> None:
    boxes = {index: [("person", 0.9, (4.0, 6.0, 40.0, 30.0))] for index in range(40)}
    video = SampleVideo("files-long", num_frames=40, boxes=boxes)
    wish = {"count": 38}  # all images except the two between the splits
    platform = build_project(tmp_path, videos=[video], releasing={"select": wish})
    assert release_project(platform, "cyclists").counts["images"] == 38
    manifest = read_manifest(platform.layout.release_folder("cyclists", "v001"))
    assert manifest is not None
    assert manifest["selection"]["num_candidates"] == 38
    assert (manifest["frames"]["between_blocks"], manifest["frames"]["not_chosen"]) == (2, 0)
    tried = try_selection(platform, "cyclists", SelectionConfig(count=38))
    assert (tried.num_candidates, len(tried.frame_ids)) == (38, 38)
