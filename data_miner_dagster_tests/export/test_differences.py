from pathlib import Path
from typing import Any

from data_miner_dagster.domain.json_records import from_json
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.export.differences import ReleaseDifference, compare_releases
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

PERSON = ("person", 0.9, (1.0, 1.0, 30.0, 30.0))


def _release(root: Path, videos: list[SampleVideo], **sections: Any) -> tuple[Path, dict[str, object]]:
    platform = build_project(root, videos=videos, **sections)
    version = str(release_project(platform, "cyclists").metadata["version"])
    folder = platform.layout.release_folder("cyclists", version)
    manifest = read_manifest(folder)
    assert manifest is not None
    return folder, manifest


def test_first_release__has_no_changes(tmp_path: Path) -> None:
    _, manifest = _release(tmp_path, [SampleVideo("files-a")])
    assert manifest["changes"] is None


def test_compare_releases__a_release_with_itself(tmp_path: Path) -> None:
    folder, manifest = _release(tmp_path, [SampleVideo("files-a", boxes={0: [PERSON]})])
    same = compare_releases(folder, manifest, folder, manifest)
    assert (same.num_images_added, same.num_images_removed, same.num_images_kept) == (0, 0, 4)
    assert (same.num_images_relabelled, same.settings, same.videos_moved) == (0, (), ())
    assert same.as_line == "against v001: the same images and boxes"


def test_compare_releases__every_kind_of_change(tmp_path: Path) -> None:
    before = [
        SampleVideo("files-a", boxes={0: [PERSON]}),
        SampleVideo("files-b", num_frames=2),
    ]
    # frame 3 of files-a becomes a duplicate and its frame 1 gets a box; files-b is gone and files-c is new
    after = [
        SampleVideo(
            "files-a",
            boxes={0: [PERSON], 1: [PERSON, PERSON]},
            duplicates={3: (make_frame_id("files-a", 0), "within_video")},
        ),
        SampleVideo("files-c", num_frames=3, boxes={2: [("bicycle", 0.8, (5.0, 5.0, 20.0, 20.0))]}),
    ]
    _release(tmp_path, before)
    _, manifest = _release(tmp_path, after, releasing={"confidence_threshold": 0.5})
    changes = manifest["changes"]
    assert isinstance(changes, dict)
    difference = from_json(ReleaseDifference, changes)
    assert (difference.before, difference.after) == ("v001", "v002")
    assert (difference.num_images_added, difference.num_images_removed, difference.num_images_kept) == (3, 3, 3)
    assert difference.num_images_relabelled == 1
    assert difference.boxes_by_class == {"person": (1, 3), "bicycle": (0, 1)}
    assert (difference.videos_added, difference.videos_removed) == (("files-c",), ("files-b",))
    assert difference.settings == (("config.releasing.confidence_threshold", "0.3", "0.5"),)
    assert difference.as_line == "against v001: +3 −3 images, 1 relabelled, +3 boxes"
