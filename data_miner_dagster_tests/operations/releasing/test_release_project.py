import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sqlalchemy import Engine, event

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.domain.errors import DataMinerError, NothingToReleaseError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import REUPLOADS_SCHEMA
from data_miner_dagster.export.manifest import damaged_files, read_checksums
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_fingerprint, release_project
from data_miner_dagster.operations.reporting.funnel import FunnelStep, project_funnel
from data_miner_dagster.stages.releasing import Candidates
from data_miner_dagster.storage.tables import (
    read_fingerprint,
    read_metadata,
    read_table,
    table_from_rows,
    write_table,
)
from data_miner_dagster.storage.verdicts import as_table_metadata
from data_miner_dagster_tests.operations.releasing.release_folders import files_of, release_folder
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project, project_config

SHARES = {"train": 0.8, "test": 0.1, "val": 0.1}


def test_release_project__nothing_survived(tmp_path: Path) -> None:
    video = SampleVideo("files-aaa", num_frames=2, dropped={0: "below_positive", 1: "junk"})
    platform = build_project(tmp_path, videos=[video])
    with pytest.raises(NothingToReleaseError) as raised:
        release_project(platform, "cyclists")
    message = str(raised.value)
    assert "0 frames kept (without 1 not similar enough to the prompts, 1 junk)" in message
    assert "; the highest similarity was 0." in message
    assert "lower `filtering.positive_threshold`" in message
    assert "`data-miner review cyclists`" in message
    row = find_project(platform.database, "cyclists")
    assert row is not None
    assert row.stage is ProjectStage.FAILED
    assert row.error is not None
    assert "nothing to release" in row.error
    assert not platform.layout.releases_folder("cyclists").exists() or not any(
        platform.layout.releases_folder("cyclists").iterdir()
    )


def test_release_project__no_videos(tmp_path: Path) -> None:
    with pytest.raises(
        NothingToReleaseError, match=r"0 candidates found.*; its sources listed no video; run `data-miner status"
    ):
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
        "waiting for review": 0,
        "images without boxes": 3,
        "images without any detection": 3,
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
    # aaa and bbb share a duplicate. Of the two groups, the larger one is for training and the other for validation.
    return {"files-aaa": "train", "files-bbb": "train", "files-ccc": "val"}


def test_release_project__boxes_are_traceable(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    folder = release_folder(platform)
    boxes = pd.read_parquet(folder / "data" / "boxes.parquet")
    clipped = boxes[(boxes["frame_id"] == "files-bbb/000001") & (boxes["confidence"] == 0.7)].iloc[0]
    split = _expected_splits()["files-bbb"]
    assert clipped.drop(["verdict", "answer_id", "confidence_calibrated"]).to_dict() == {
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
        "is_unsure": False,
    }
    assert boxes[["verdict", "answer_id", "confidence_calibrated"]].isna().all(axis=None)  # there are no verdicts
    images = pd.read_parquet(folder / "data" / "images.parquet").set_index("frame_id")
    assert list(images["image_id"]) == [1, 2, 3, 4, 5, 6, 7]
    # frame 1 of aaa represents one duplicate in aaa and one in bbb
    assert images.loc["files-aaa/000001", "num_duplicates"] == 2
    assert images.loc["files-aaa/000001", "similarity"] == 0.85
    videos = pd.read_parquet(folder / "data" / "videos.parquet").set_index("video_key")
    assert videos.loc["files-bbb", "group"] == "files-aaa"
    assert videos.loc["files-bbb", "licence"] == "CC-BY-4.0"
    assert list(videos["num_boxes"]) == [2, 2, 1]


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


def test_release_project__same_inputs_same_release(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    before = files_of(platform.root / "releases") | files_of(platform.root / "reports")
    again = release_project(platform, "cyclists")
    assert again.status is OutcomeStatus.REUSED
    assert again.metadata["version"] == "v001"
    assert before == files_of(platform.root / "releases") | files_of(platform.root / "reports")
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
    once = {"v001": 1, "v002": 1, "v003": 1, "configuration of cyclists": 1}
    # read once more for the report, when the cost is stored
    assert Counter(read) == once | {"rows of releases": 2}


@dataclass(frozen=True)
class _MostOfAClass:
    """Selects at most `most` images of each class, those with the highest confidence, and no images without boxes."""

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
    folder = release_folder(platform, "v002")
    images = pd.read_parquet(folder / "data" / "images.parquet")
    assert images[["image_id", "frame_id"]].to_numpy().tolist() == [[1, "files-aaa/000001"], [2, "files-bbb/000001"]]
    manifest = json.loads((folder / "release.json").read_text())
    assert manifest["selection"] == {"most_of_a_class": 1, "num_candidates": 7}
    assert manifest["videos_without_images"] == ["files-ccc"]
    assert damaged_files(folder) == []
    again = release_project(platform, "cyclists", selection=_MostOfAClass(1))
    assert (again.status, again.metadata["version"]) == (OutcomeStatus.REUSED, "v002")
    assert release_project(platform, "cyclists", selection=_MostOfAClass(2)).counts["images"] == 4
    # without a selection, nothing is stale
    assert release_project(platform, "cyclists").metadata["version"] == "v001"
    with pytest.raises(NothingToReleaseError, match=r"releasing\.select chooses none of its 7 images"):
        release_project(platform, "cyclists", selection=_MostOfAClass(0))


def test_release_project__says_which_frames_a_person_kept(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    path = platform.layout.filtered_table("cyclists")
    table = read_table(path)
    seconds = dict(zip(table["frame_id"].to_pylist(), table["pts_seconds"].to_pylist(), strict=True))
    # the first is kept and released, the second kept but a duplicate, the third dropped
    said = {("files-aaa", seconds[f"files-aaa/00000{frame}"]): frame != 3 for frame in (1, 2, 3)}
    write_table(path, table, fingerprint=read_fingerprint(path) or "", metadata=as_table_metadata(said))
    release_project(platform, "cyclists")
    manifest = json.loads((release_folder(platform) / "release.json").read_text())
    assert manifest["kept_by_hand"] == ["files-aaa/000001"]


def test_release_project__two_roots_same_bytes(tmp_path: Path) -> None:
    trees = []
    for root in (tmp_path / "one", tmp_path / "another" / "place"):
        platform = build_project(root)
        release_project(platform, "cyclists")
        report = (root / "reports/cyclists/index.html").read_bytes()
        # The measured cost differs between the roots, but no file of a release contains it.
        without_cost, num_sections = re.subn(rb'<section id="cost">.*?</section>', b"", report, flags=re.DOTALL)
        assert num_sections == 1
        trees.append(files_of(root / "releases") | {"report": without_cost})
    assert trees[0] == trees[1]
    assert not any(str(tmp_path).encode() in content for content in trees[0].values())


def test_release_project__manifest_covers_every_file(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    folder = release_folder(platform)
    named = [name for name, _ in read_checksums(folder)]
    assert len(named) == len(set(named))
    assert {*named, "release.json", "SHA256SUMS"} == set(files_of(folder))
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
        image = release_folder(platform) / "images" / split / "files-aaa_000001.jpg"
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
    # after changing back, the release that was made from these inputs still exists
    assert release_project(build_project(tmp_path), "cyclists").metadata["version"] == "v001"


def test_release_fingerprint__class_order_is_the_class_id() -> None:
    turned = project_config(detection={"classes": {"bicycle": ["bicycle", "bike"], "person": []}})
    assert release_fingerprint(project_config(), {}) != release_fingerprint(turned, {})
    linked = project_config(releasing={"copy_images": True})
    assert release_fingerprint(project_config(), {}) == release_fingerprint(linked, {})


def test_release_fingerprint__what_the_release_says_counts() -> None:
    assert release_fingerprint(project_config(), {}) != release_fingerprint(project_config(description="Other."), {})


def test_release_project__a_video_keeps_its_split(tmp_path: Path) -> None:
    def splits(version: str, platform: Platform) -> dict[str, Any]:
        content = json.loads((release_folder(platform, version) / "release.json").read_text())
        return dict(content["splits"]["by_video"])

    few = [SampleVideo("files-v4", num_frames=6), SampleVideo("files-v5"), SampleVideo("files-v6")]
    platform = build_project(tmp_path, videos=few)
    release_project(platform, "cyclists")
    first = splits("v001", platform)
    assert first["files-v4"] == "train"
    assert sorted(first.values()) == ["test", "train", "val"]
    many = [*few, *(SampleVideo(f"files-w{index}") for index in range(12))]
    platform = build_project(tmp_path, videos=many)
    release_project(platform, "cyclists")
    second = splits("v002", platform)
    assert second.items() > first.items()
    # 50 of 62 images; moving another 4 to val or test would be further from the shares
    assert list(second.values()).count("train") == 12


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
    videos = pd.read_parquet(release_folder(platform) / "data" / "videos.parquet")
    assert list(videos["group"]) == ["files-a", "files-a"]
