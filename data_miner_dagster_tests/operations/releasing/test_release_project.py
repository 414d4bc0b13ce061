import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.compute as pc
import pytest
import yaml
from sqlalchemy import Engine, event

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.domain.errors import DataMinerError, NothingToReleaseError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import REUPLOADS_SCHEMA
from data_miner_dagster.export.coco import read_coco
from data_miner_dagster.export.manifest import damaged_files, read_checksums
from data_miner_dagster.operations.detection.detect_project import NUM_UNREADABLE_KEY
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_fingerprint, release_project
from data_miner_dagster.operations.reporting.funnel import FunnelStep, project_funnel
from data_miner_dagster.stages.releasing import Candidates, assign_splits, group_videos
from data_miner_dagster.storage.tables import (
    FRAMES_KEY,
    MADE_FROM_KEY,
    read_fingerprint,
    read_metadata,
    read_table,
    table_from_rows,
    write_table,
)
from data_miner_dagster.storage.verdicts import as_table_metadata
from data_miner_dagster_tests.support.releases import FORGETFUL
from data_miner_dagster_tests.support.sample_project import SAMPLE_VIDEOS, SampleVideo, build_project, project_config

SHARES = {"train": 0.8, "test": 0.1, "val": 0.1}


def _release_folder(platform: Platform, version: str = "v001") -> Path:
    return platform.layout.release_folder("cyclists", version)


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_release_project__nothing_survived(tmp_path: Path) -> None:
    video = SampleVideo("files-aaa", num_frames=2, dropped={0: "below_positive", 1: "junk"})
    platform = build_project(tmp_path, videos=[video])
    with pytest.raises(NothingToReleaseError, match=r"0 frames kept \(without 1 below_positive, 1 junk\)"):
        release_project(platform, "cyclists")
    row = find_project(platform.database, "cyclists")
    assert row is not None
    assert row.stage is ProjectStage.FAILED
    assert row.error is not None
    assert "nothing to release" in row.error
    assert not platform.layout.releases_folder("cyclists").exists() or not any(
        platform.layout.releases_folder("cyclists").iterdir()
    )


def test_release_project__no_videos(tmp_path: Path) -> None:
    with pytest.raises(NothingToReleaseError, match="0 candidates found"):
        release_project(build_project(tmp_path, videos=()), "cyclists")


def test_release_project__a_stage_is_missing(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="deduplication")
    with pytest.raises(DataMinerError, match="has no detections yet"):
        release_project(platform, "cyclists")


def test_release_project__counts_and_statuses(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    outcome = release_project(platform, "cyclists")
    splits = _expected_splits()
    assert outcome.status is OutcomeStatus.DONE
    assert outcome.metadata["version"] == "v001"
    images = {"files-aaa": 2, "files-bbb": 3, "files-ccc": 2}
    assert outcome.counts == {
        "videos": 3,
        "images": 7,
        "images without boxes": 3,
        "boxes": 5,
        **{
            f"images in {split}": sum(number for key, number in images.items() if splits[key] == split)
            for split in SHARES
        },
        "boxes of person": 3,
        "boxes of bicycle": 2,
    }
    row = find_project(platform.database, "cyclists")
    assert row is not None
    assert (row.stage, row.released_version, row.error) == (ProjectStage.COMPLETE, "v001", None)
    assert row.counts["released_images"] == 7
    (release,) = find_releases(platform.database, "cyclists")
    assert (release.version, release.num_videos, release.num_images, release.num_boxes) == ("v001", 3, 7, 5)
    funnel = project_funnel(platform, "cyclists")
    assert funnel.release == "v001"
    assert funnel[FunnelStep.RELEASED_BOXES].count == 5
    assert Path(str(outcome.metadata["report"])).is_file()


def _expected_splits() -> dict[str, str]:
    # aaa and bbb share a duplicate
    return assign_splits(group_videos(["files-aaa", "files-bbb", "files-ccc"], [("files-bbb", "files-aaa")]), SHARES)


def test_release_project__boxes_are_traceable(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    folder = _release_folder(platform)
    boxes = pd.read_parquet(folder / "data" / "boxes.parquet")
    clipped = boxes[(boxes["frame_id"] == "files-bbb/000001") & (boxes["confidence"] == 0.7)].iloc[0]
    split = _expected_splits()["files-bbb"]
    assert clipped.to_dict() == {
        "image_id": 3,
        "file_name": f"{split}/files-bbb_000001.jpg",
        "split": split,
        "frame_id": "files-bbb/000001",
        "video_key": "files-bbb",
        "video_url": "https://videos.example/files-bbb.mp4",
        "pts_seconds": 1.0,
        "class_index": 0,
        "class_name": "person",
        "confidence": 0.7,
        "x_min": 0.0,
        "y_min": 0.0,
        "x_max": 20.0,
        "y_max": 48.0,
        "prompt": "person",
        "detector": "lite",
        "num_agreeing_detectors": 1,
    }
    images = pd.read_parquet(folder / "data" / "images.parquet").set_index("frame_id")
    assert list(images["image_id"]) == [1, 2, 3, 4, 5, 6, 7]
    # one duplicate within aaa and one in bbb stand behind frame 1 of aaa
    assert images.loc["files-aaa/000001", "num_duplicates"] == 2
    assert images.loc["files-aaa/000001", "similarity"] == 0.85
    videos = pd.read_parquet(folder / "data" / "videos.parquet").set_index("video_key")
    assert videos.loc["files-bbb", "group"] == "files-aaa"
    assert videos.loc["files-bbb", "licence"] == "CC-BY-4.0"
    assert list(videos["num_boxes"]) == [2, 2, 1]


def test_release_project__a_split_goes_by_the_name_of_each_format(tmp_path: Path) -> None:
    platform = build_project(tmp_path, releasing={"splits": {"train": 0.1, "valid": 0.9}})
    outcome = release_project(platform, "cyclists")
    assert outcome.counts["images in valid"] > 0
    data = yaml.safe_load((_release_folder(platform) / "data.yaml").read_text())
    assert {name: data[name] for name in data if name != "names"} == {"train": "images/train", "val": "images/valid"}
    card = (_release_folder(platform) / "README.md").read_text()
    front_matter = yaml.safe_load(card.split("---")[1])
    assert front_matter["configs"][0]["data_files"] == [
        {"split": "train", "path": "images/train/**"},
        {"split": "validation", "path": "images/valid/**"},
    ]


def test_release_project__only_what_is_identical_is_a_duplicate(tmp_path: Path) -> None:
    platform = build_project(tmp_path, deduplication={"threshold": 1.0})
    table = platform.layout.deduplicated_table("cyclists")
    write_table(
        table,
        read_table(table).replace_schema_metadata(None),
        fingerprint=read_fingerprint(table) or "",
        metadata={**read_metadata(table), "threshold": "1.0"},
    )
    outcome = release_project(platform, "cyclists")
    assert "Cosine of duplicates" in Path(str(outcome.metadata["report"])).read_text()


def test_release_project__reads_back_with_pycocotools(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    coco = read_coco(_release_folder(platform) / "annotations" / "instances_all.json")
    assert [category["name"] for category in coco.loadCats([1, 2])] == ["person", "bicycle"]
    assert coco.getImgIds(catIds=[2]) == [1, 6]
    (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
    assert annotation["bbox"] == [10.5, 8.25, 19.5, 38.75]
    assert annotation["area"] == 755.625
    assert coco.imgs[2]["video_url"] == "https://videos.example/files-aaa.mp4"
    assert coco.imgs[2]["pts_seconds"] == 3.0


_READ_WITH_ULTRALYTICS = """
import json, sys
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

checked = check_det_dataset(sys.argv[1] + "/data.yaml", autodownload=False)
labels = {}
for split in sys.argv[2:]:
    dataset = YOLODataset(f"{sys.argv[1]}/images/{split}", data=checked, augment=False, imgsz=64)
    for label in dataset.labels:
        name = label["im_file"].rsplit("/", 1)[1]
        labels[name] = [[int(c), *map(float, box)] for c, box in zip(label["cls"][:, 0], label["bboxes"])]
print(json.dumps({"names": checked["names"], "train": checked["train"], "val": checked["val"], "labels": labels}))
"""


def test_release_project__reads_back_with_ultralytics(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    release_project(platform, "cyclists")
    # moved: nothing in it may depend on where it was made
    moved = tmp_path / "moved"
    shutil.copytree(_release_folder(platform), moved)
    splits = sorted(set(_expected_splits().values()))
    # a process of its own: importing ultralytics changes Pillow for everyone
    finished = subprocess.run(
        [sys.executable, "-c", _READ_WITH_ULTRALYTICS, str(moved), *splits],
        env=os.environ | {"YOLO_CONFIG_DIR": str(tmp_path), "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"},
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(finished.stdout.splitlines()[-1])
    assert found["names"] == {"0": "person", "1": "bicycle"}
    assert found["train"] == str(moved / "images" / "train")
    assert len(found["labels"]) == 7
    assert sum(len(boxes) for boxes in found["labels"].values()) == 5
    ((class_index, *box),) = found["labels"]["files-aaa_000001.jpg"]
    assert class_index == 1
    assert box == pytest.approx([22 / 64, 18 / 48, 36 / 64, 24 / 48], abs=1e-6)


def test_release_project__same_inputs_same_release(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    before = _tree(platform.root / "releases") | _tree(platform.root / "reports")
    again = release_project(platform, "cyclists")
    assert again.status is OutcomeStatus.REUSED
    assert again.metadata["version"] == "v001"
    assert before == _tree(platform.root / "releases") | _tree(platform.root / "reports")
    assert len(find_releases(platform.database, "cyclists")) == 1


def test_release_project__reads_each_thing_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for threshold in (0.2, 0.4):
        platform = build_project(tmp_path, releasing={"confidence_threshold": threshold})
        release_project(platform, "cyclists")
    platform = build_project(tmp_path, releasing={"confidence_threshold": 0.6})
    read: list[str] = []
    read_text, project_config_of = Path.read_text, Platform.project_config

    def counted_read(path: Path, *args: Any, **options: Any) -> str:
        if path.name == "release.json":
            read.append(path.parent.name)
        return read_text(path, *args, **options)

    def counted_config(platform: Platform, project: str) -> Any:
        read.append(f"configuration of {project}")
        return project_config_of(platform, project)

    def counted_statement(*arguments: Any) -> None:
        if "SELECT" in arguments[2] and "FROM releases" in arguments[2]:
            read.append("rows of releases")

    monkeypatch.setattr(Path, "read_text", counted_read)
    monkeypatch.setattr(Platform, "project_config", counted_config)
    event.listen(Engine, "before_cursor_execute", counted_statement)
    try:
        assert release_project(platform, "cyclists").metadata["version"] == "v003"
    finally:
        event.remove(Engine, "before_cursor_execute", counted_statement)
    # the rows once more by the one that is added: it may be known
    assert Counter(read) == {"v001": 1, "v002": 1, "v003": 1, "configuration of cyclists": 1, "rows of releases": 2}


@dataclass(frozen=True)
class _MostOfAClass:
    """At most so many images of each class, the most confident; none without boxes."""

    most: int

    @property
    def settings(self) -> dict[str, object]:
        return {"most_of_a_class": self.most}

    def choose(self, candidates: Candidates) -> npt.NDArray[np.bool_]:
        is_chosen = np.zeros(len(candidates.frame_indices), bool)
        image_of_box = np.repeat(np.arange(len(is_chosen)), np.diff(candidates.box_offsets))
        for class_index in np.unique(candidates.box_classes):
            boxes = np.flatnonzero(candidates.box_classes == class_index)
            best = boxes[np.argsort(-candidates.box_confidences[boxes], kind="stable")]
            is_chosen[list(dict.fromkeys(image_of_box[best].tolist()))[: self.most]] = True
        return is_chosen


def test_release_project__a_choice_among_all_images(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    outcome = release_project(platform, "cyclists", selection=_MostOfAClass(1))
    # bicycle: .9 in aaa, .6 in ccc; person: .7 in bbb, .5 in aaa
    assert (outcome.counts["videos"], outcome.counts["images"], outcome.counts["boxes"]) == (2, 2, 3)
    folder = _release_folder(platform, "v002")
    images = pd.read_parquet(folder / "data" / "images.parquet")
    assert images[["image_id", "frame_id"]].to_numpy().tolist() == [[1, "files-aaa/000001"], [2, "files-bbb/000001"]]
    manifest = json.loads((folder / "release.json").read_text())
    assert manifest["selection"] == {"most_of_a_class": 1, "num_candidates": 7}
    assert manifest["videos_without_images"] == ["files-ccc"]
    assert damaged_files(folder) == []
    again = release_project(platform, "cyclists", selection=_MostOfAClass(1))
    assert (again.status, again.metadata["version"]) == (OutcomeStatus.REUSED, "v002")
    assert release_project(platform, "cyclists", selection=_MostOfAClass(2)).counts["images"] == 4
    assert release_project(platform, "cyclists").metadata["version"] == "v001"  # without one, nothing is stale
    with pytest.raises(NothingToReleaseError, match="none of its 7 images is chosen"):
        release_project(platform, "cyclists", selection=_MostOfAClass(0))


def test_release_project__says_which_frames_a_person_kept(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    path = platform.layout.filtered_table("cyclists")
    table = read_table(path)
    seconds = dict(zip(table["frame_id"].to_pylist(), table["pts_seconds"].to_pylist(), strict=True))
    # kept and released; kept and a duplicate of another; dropped
    said = {("files-aaa", seconds[f"files-aaa/00000{frame}"]): frame != 3 for frame in (1, 2, 3)}
    write_table(path, table, fingerprint=read_fingerprint(path) or "", metadata=as_table_metadata(said))
    release_project(platform, "cyclists")
    manifest = json.loads((_release_folder(platform) / "release.json").read_text())
    assert manifest["kept_by_hand"] == ["files-aaa/000001"]


def test_release_project__two_roots_same_bytes(tmp_path: Path) -> None:
    trees = []
    for root in (tmp_path / "one", tmp_path / "another" / "place"):
        platform = build_project(root)
        release_project(platform, "cyclists")
        trees.append(_tree(root / "releases") | {"report": (root / "reports/cyclists/index.html").read_bytes()})
    assert trees[0] == trees[1]
    assert not any(str(tmp_path).encode() in content for content in trees[0].values())


def test_release_project__manifest_covers_every_file(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    folder = _release_folder(platform)
    named = [name for name, _ in read_checksums(folder)]
    assert len(named) == len(set(named))
    assert {*named, "release.json", "SHA256SUMS"} == set(_tree(folder))
    assert damaged_files(folder) == []
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=folder, check=True)
    (folder / "data.yaml").write_text("names: []")
    assert damaged_files(folder) == ["data.yaml: its sha256 has changed"]
    (folder / "SHA256SUMS").write_text("")
    assert damaged_files(folder) == ["SHA256SUMS: its sha256 has changed"]


def test_release_project__images_are_hard_links_or_copies(tmp_path: Path) -> None:
    for copy in (False, True):
        platform = build_project(tmp_path / str(copy), releasing={"copy_images": copy})
        release_project(platform, "cyclists")
        split = _expected_splits()["files-aaa"]
        image = _release_folder(platform) / "images" / split / "files-aaa_000001.jpg"
        frame = platform.layout.frame_path("files-aaa", "000001.jpg")
        assert image.read_bytes() == frame.read_bytes()
        assert image.samefile(frame) is not copy


def test_release_project__another_threshold_is_another_version(tmp_path: Path) -> None:
    release_project(build_project(tmp_path), "cyclists")
    platform = build_project(tmp_path, releasing={"confidence_threshold": 0.65, "include_frames_without_boxes": False})
    outcome = release_project(platform, "cyclists")
    assert outcome.metadata["version"] == "v002"
    assert outcome.counts["images"] == 2
    assert outcome.counts["boxes"] == 2
    # and back: the release that was made of this is still there
    assert release_project(build_project(tmp_path), "cyclists").metadata["version"] == "v001"


def test_release_fingerprint__class_order_is_the_class_id() -> None:
    turned = project_config(detection={"classes": {"bicycle": ["bicycle", "bike"], "person": []}})
    assert release_fingerprint(project_config(), {}) != release_fingerprint(turned, {})
    linked = project_config(releasing={"copy_images": True})
    assert release_fingerprint(project_config(), {}) == release_fingerprint(linked, {})


def test_release_fingerprint__what_the_release_says_counts() -> None:
    assert release_fingerprint(project_config(), {}) != release_fingerprint(project_config(description="Other."), {})


def test_release_project__killed_before_the_row(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    before = _tree(platform.root / "releases")
    shutil.copytree(platform.root / "releases", tmp_path / "kept")
    again = build_project(tmp_path / "second")
    shutil.copytree(tmp_path / "kept", again.root / "releases")
    outcome = release_project(again, "cyclists")
    assert outcome.status is OutcomeStatus.REUSED
    assert [row.version for row in find_releases(again.database, "cyclists")] == ["v001"]
    assert _tree(again.root / "releases") == before


def test_release_project__killed_while_writing(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    leftover = platform.layout.releases_folder("cyclists") / ".partial-0123456789ab-v001"
    (leftover / "images").mkdir(parents=True)
    assert release_project(platform, "cyclists").metadata["version"] == "v001"
    assert [entry.name for entry in platform.layout.releases_folder("cyclists").iterdir()] == ["v001"]


def test_release_project__force_mends_a_damaged_release(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    before = _tree(platform.root / "releases")
    (_release_folder(platform) / "annotations" / "instances_all.json").write_text("{}")
    assert release_project(platform, "cyclists").status is OutcomeStatus.REUSED
    assert release_project(platform, "cyclists", force=True).status is OutcomeStatus.DONE
    assert _tree(platform.root / "releases") == before
    assert release_project(platform, "cyclists", force=True).status is OutcomeStatus.REUSED


def test_release_project__a_frame_that_changed_on_disk(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    path = platform.layout.frame_path("files-aaa", "000001.jpg")
    content = path.read_bytes()
    path.write_bytes(b"rotten")
    outcome = release_project(platform, "cyclists")
    assert (outcome.counts["images"], outcome.counts["left out"]) == (6, 1)
    manifest = json.loads((_release_folder(platform, "v001") / "release.json").read_text())
    assert manifest["left_out"] == ["files-aaa/000001"]
    assert release_project(platform, "cyclists").metadata["version"] == "v001"  # nothing has changed
    path.write_bytes(content)
    whole = release_project(platform, "cyclists")
    assert (whole.metadata["version"], whole.counts["images"]) == ("v002", 7)


def test_release_project__goes_on_without_a_video_whose_frames_are_gone(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    platform.layout.frames_table("files-bbb").unlink()
    outcome = release_project(platform, "cyclists")
    assert outcome.counts["left out"] == 1
    (member,) = [row for row in find_members(platform.database, "cyclists") if row.video_key == "files-bbb"]
    assert (member.status.value, member.reason) == (
        "FAILED",
        "internal_error: the frames of files-bbb are gone; extract them again",
    )


def test_release_project__stale_tables_are_refused(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    changed = [SampleVideo("files-aaa", num_frames=5, dropped={1: "junk"}), *SAMPLE_VIDEOS[1:]]
    build_project(tmp_path, videos=changed, through="filtering")
    with pytest.raises(DataMinerError, match="deduplicated_frames is out of date"):
        release_project(platform, "cyclists")


def test_release_project__a_video_keeps_its_split(tmp_path: Path) -> None:
    def splits(version: str, platform: Platform) -> dict[str, Any]:
        content = json.loads((_release_folder(platform, version) / "release.json").read_text())
        return dict(content["splits"]["by_video"])

    only = [SampleVideo("files-v4")]
    platform = build_project(tmp_path, videos=only)
    release_project(platform, "cyclists")
    first = splits("v001", platform)
    assert first == {"files-v4": "train"}
    many = [*only, *(SampleVideo(f"files-w{index}") for index in range(12))]
    platform = build_project(tmp_path, videos=many)
    release_project(platform, "cyclists")
    second = splits("v002", platform)
    assert second["files-v4"] == "train"
    assert set(second.values()) > {"train"}


def test_release_project__a_table_made_from_an_older_one(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    path = platform.layout.detections_table("cyclists")
    rows, fingerprint = read_table(path).replace_schema_metadata(None), read_fingerprint(path)
    deduplicated = read_fingerprint(platform.layout.deduplicated_table("cyclists"))
    assert fingerprint is not None
    assert deduplicated is not None
    write_table(path, rows, fingerprint=fingerprint, metadata={MADE_FROM_KEY: "what deduplication said before"})
    with pytest.raises(DataMinerError, match="detections is out of date"):
        release_project(platform, "cyclists")
    write_table(path, rows, fingerprint=fingerprint, metadata={MADE_FROM_KEY: deduplicated})
    assert release_project(platform, "cyclists").status is OutcomeStatus.DONE


def test_release_project__frames_made_anew_since_they_were_chosen(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    path = platform.layout.deduplicated_table("cyclists")
    rows, fingerprint = read_table(path).replace_schema_metadata(None), read_fingerprint(path)
    frames = {key: read_fingerprint(platform.layout.frames_table(key)) for key in ("files-aaa", "files-bbb")}
    assert fingerprint is not None
    write_table(path, rows, fingerprint=fingerprint, metadata={FRAMES_KEY: json.dumps(frames | {"files-bbb": "old"})})
    with pytest.raises(DataMinerError, match="the frames of files-bbb were made anew since they were chosen"):
        release_project(platform, "cyclists")
    write_table(path, rows, fingerprint=fingerprint, metadata={FRAMES_KEY: json.dumps(frames)})
    assert release_project(platform, "cyclists").status is OutcomeStatus.DONE


def test_release_project__frames_that_could_not_be_looked_at_are_left_out(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    path = platform.layout.detected_frames_table("cyclists")
    rows = read_table(path).replace_schema_metadata(None)
    seen = rows.filter(pc.not_equal(rows["frame_id"], "files-bbb/000002"))
    write_table(path, seen, fingerprint="again")
    with pytest.raises(DataMinerError, match="unique frames that no detector has looked at"):
        release_project(platform, "cyclists")
    write_table(path, seen, fingerprint="again", metadata={NUM_UNREADABLE_KEY: "1"})
    assert release_project(platform, "cyclists").counts["images"] == 6
    assert project_funnel(platform, "cyclists")[FunnelStep.DETECTED].lost == {"unreadable": 1}


def test_release_project__re_uploads_share_a_split(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=[SampleVideo("files-a"), SampleVideo("files-b")])
    row = {
        "video_key": "files-b",
        "original_video_key": "files-a",
        "share": 1.0,
        "original_share": 1.0,
        "num_matched_frames": 4,
        "num_frames": 4,
    }
    table = table_from_rows([row], REUPLOADS_SCHEMA)
    write_table(platform.layout.reuploads_table("cyclists"), table, fingerprint="reuploads")
    release_project(platform, "cyclists")
    videos = pd.read_parquet(_release_folder(platform) / "data" / "videos.parquet")
    assert list(videos["group"]) == ["files-a", "files-a"]


def test_release_project__one_that_does_not_read_back_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = build_project(tmp_path)
    monkeypatch.setattr("data_miner_dagster.export.coco.CODEC", FORGETFUL)
    with pytest.raises(DataMinerError, match=r"release cyclists v001 does not read back: .*; nothing was published"):
        release_project(platform, "cyclists")
    assert list(platform.layout.releases_folder("cyclists").iterdir()) == []
    assert find_releases(platform.database, "cyclists") == []
