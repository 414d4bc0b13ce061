"""Test rebuilding releases whose objects were followed: without any request, with incomplete windows, after kills."""

import errno
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, fingerprint_of
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, OutcomeStatus, RgbImage
from data_miner_dagster.export.tracks import has_tracks
from data_miner_dagster.operations.extraction.refetching import fetch_missing_sources
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing import unfinished
from data_miner_dagster.operations.releasing.rebuilding import InputsMissingError, plan_rebuild, rebuild_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.unfinished import find_unfinished_rebuilds
from data_miner_dagster.operations.releasing.unfinished_exports import export_work_folder
from data_miner_dagster.operations.upkeep.forgetting import forget_videos
from data_miner_dagster.storage.frames import frames_identity
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster.storage.vectors import StoredEmbeddings, write_embeddings
from data_miner_dagster.storage.windows import STEPS_KEY, TIMES_KEY
from data_miner_dagster_tests.operations.releasing import killed_rebuild
from data_miner_dagster_tests.operations.releasing.killed_rebuild import platform_of
from data_miner_dagster_tests.operations.releasing.release_folders import files_of
from data_miner_dagster_tests.sites.hostile_server import HostileServer, hostile_server
from data_miner_dagster_tests.support.axis_project import AxisEncoder
from data_miner_dagster_tests.support.coloured_shapes import PROJECT
from data_miner_dagster_tests.support.living_project import STAGES
from data_miner_dagster_tests.support.moving_shapes import CarelessDetector, add_clip, make_shapes_clip

CLIP = "generic-a"
pytestmark = pytest.mark.slow(45)


@pytest.fixture(scope="module")
def site() -> Iterator[HostileServer]:
    """Yield the site that serves the clip."""
    with hostile_server() as server:
        yield server


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, site: HostileServer) -> Iterator[Platform]:
    """Yield a project of one clip with two releases: one followed objects around frames, one along the whole clip."""
    base = tmp_path_factory.mktemp("followed")
    encoder = AxisEncoder()
    platform = platform_of(base / "root")
    _configure(platform, whole_clip=False)
    add_clip(platform, CLIP, make_shapes_clip(base / "clip.mp4", 6))
    with platform.database.transaction() as session:
        session.get_one(VideoRow, CLIP).url = site.url("/clip.mp4")
    identity = frames_identity(platform.layout, CLIP)
    assert identity is not None
    vectors = np.zeros((6, encoder.embedding_dim), np.float16)
    vectors[:, 0], vectors[:, 1] = np.cos(np.arange(6) / 5), np.sin(np.arange(6) / 5)
    fingerprint = embeddings_fingerprint_of(identity.fingerprint, encoder.fingerprint)
    write_embeddings(
        platform.layout.embedding_file(encoder.name, CLIP),
        StoredEmbeddings(np.arange(6, dtype=np.int32), vectors, fingerprint),
    )
    for whole_clip in (False, True):
        _configure(platform, whole_clip=whole_clip)
        for stage in STAGES:
            stage(platform, PROJECT)
        release_project(platform, PROJECT)
    yield platform
    platform.database.dispose()


def _configure(platform: Platform, *, whole_clip: bool) -> None:
    config = ProjectConfig.model_validate(
        {
            "name": PROJECT,
            "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
            "filtering": {"positive": ["cat"], "positive_threshold": -1},
            "deduplication": {"encoder": "filter", "threshold": 0.999, "same_place": "nowhere"},
            "detection": {"classes": {"red": [], "blue": []}, "tracking": {"whole_clip": whole_clip}},
            "releasing": {"guard_seconds": 0.0, "unsure": "as_negative"},
        }
    )
    dump = config.model_dump(mode="json")
    save_snapshot(platform.database, PROJECT, dump, fingerprint_of(dump), None)


@pytest.fixture
def copy(followed: Platform, tmp_path: Path) -> Iterator[Platform]:
    """Yield a copy of the root that the test may change."""
    shutil.copytree(followed.root, tmp_path / "root")
    platform = platform_of(tmp_path / "root")
    yield platform
    platform.database.dispose()


def _rebuilt(platform: Platform, version: str, to: Path) -> dict[str, bytes]:
    plan = plan_rebuild(platform, PROJECT, version=version)
    assert plan.lacks == []
    return files_of(rebuild_release(platform, plan, to).folder)


def _work_folders(platform: Platform) -> list[Path]:
    return [entry for entry in platform.root.iterdir() if "rebuild" in entry.name]


def test_rebuild_release__whose_objects_were_followed(followed: Platform, tmp_path: Path) -> None:
    for version, has_whole_clips in (("v001", False), ("v002", True)):
        release = followed.layout.release_folder(PROJECT, version)
        assert has_tracks(release) is has_whole_clips
        assert "track_id" in read_table(release / "data" / "boxes.parquet").column_names
        assert _rebuilt(followed, version, tmp_path / version) == files_of(release)
    manifest = json.loads((followed.layout.release_folder(PROJECT, "v001") / "release.json").read_text())
    # every quarter of a second from -1 to 6 s, around frames at 0 to 5 s
    assert manifest["effort"]["num_pictures_around"] == 29


# --- nothing is downloaded ---


def _narrow_windows(platform: Platform) -> None:
    """Reduce the clip's windows to the pictures around its first frame."""
    path = platform.layout.windows_table(CLIP)
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata) | {TIMES_KEY.encode(): b"[250000, 500000]", STEPS_KEY.encode(): b"[]"}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def test_rebuild_release__whose_video_is_gone_but_not_the_pictures_around_frames(
    copy: Platform, tmp_path: Path
) -> None:
    shutil.rmtree(copy.layout.video_folder(CLIP))
    for version in ("v001", "v002"):
        release = copy.layout.release_folder(PROJECT, version)
        assert _rebuilt(copy, version, tmp_path / version) == files_of(release)


@pytest.mark.parametrize(
    ("version", "change"),
    [("v001", _narrow_windows), ("v002", lambda platform: shutil.rmtree(platform.layout.windows))],
)
def test_rebuild_release__pictures_around_frames_do_not_suffice_and_the_video_is_gone(
    copy: Platform, site: HostileServer, tmp_path: Path, change: Callable[[Platform], None], version: str
) -> None:
    shutil.rmtree(copy.layout.video_folder(CLIP))
    change(copy)
    wanted = (
        f"pictures around the frames of {CLIP} are missing or incomplete, and its video file is missing; download the "
        f"video again with `data-miner backfill --asset videos --project {PROJECT} --force --keys-file FILE`, "
        "where FILE contains its key, or restore the video file from a backup"
    )
    assert plan_rebuild(copy, PROJECT, version=version).lacks == [wanted]
    # Which frames were examined is known only after deduplication, since the manifest does not record it.
    manifest = tmp_path / "release.json"
    shutil.copyfile(copy.layout.release_folder(PROJECT, version) / "release.json", manifest)
    plan = plan_rebuild(copy, PROJECT, manifest=manifest)
    plan.lacks.clear()
    with pytest.raises(InputsMissingError, match=f"{version} cannot be rebuilt: pictures around the") as caught:
        rebuild_release(copy, plan, tmp_path / "out")
    assert caught.value.lacks == (wanted,)
    assert not (tmp_path / "out").exists()
    (left,) = _work_folders(copy)
    assert not (left / "frames").exists()
    assert site.count() == 0
    video = find_video(copy.database, CLIP)
    assert video is not None
    fetch_missing_sources(copy, [video])  # as detection does when it is not part of a rebuild
    assert site.count("/clip.mp4") > 0
    site.requests.clear()


# --- videos that could not be followed ---


def _release_without_following(platform: Platform, site: HostileServer) -> str:
    """Release while the video and the pictures around its frames are missing, and the site no longer has the video."""
    shutil.rmtree(platform.layout.video_folder(CLIP))
    shutil.rmtree(platform.layout.windows)
    shutil.rmtree(platform.layout.window_parts(PROJECT))
    with platform.database.transaction() as session:
        session.get_one(VideoRow, CLIP).url = site.url("/gone.mp4")
    _configure(platform, whole_clip=False)
    for stage in STAGES:
        outcome = stage(platform, PROJECT)
    assert outcome.counts["videos_not_followed"] == 1
    return str(release_project(platform, PROJECT).metadata["version"])


def test_rebuild_release__whose_video_could_not_be_followed(
    copy: Platform, site: HostileServer, tmp_path: Path
) -> None:
    version = _release_without_following(copy, site)
    assert version == "v003", "its boxes differ from those of v001"
    release = copy.layout.release_folder(PROJECT, version)
    manifest = json.loads((release / "release.json").read_text())
    assert manifest["not_followed"] == [CLIP]
    assert any("could not be followed in 1 video" in limit for limit in manifest["limits"])
    before = files_of(release)
    assert _rebuilt(copy, version, tmp_path / "out") == before
    alone = tmp_path / "release.json"
    shutil.copyfile(release / "release.json", alone)
    plan = plan_rebuild(copy, PROJECT, manifest=alone)
    assert plan.lacks == []
    assert files_of(rebuild_release(copy, plan, tmp_path / "alone").folder) == before
    assert release_project(copy, PROJECT).status is OutcomeStatus.REUSED


def test_rebuild_release__whose_video_can_be_followed_again(
    copy: Platform, followed: Platform, site: HostileServer, tmp_path: Path
) -> None:
    version = _release_without_following(copy, site)
    before = files_of(copy.layout.release_folder(PROJECT, version))
    shutil.copytree(followed.layout.video_folder(CLIP), copy.layout.video_folder(CLIP), dirs_exist_ok=True)
    for stage in STAGES:
        outcome = stage(copy, PROJECT)
    assert "videos_not_followed" not in outcome.counts
    assert release_project(copy, PROJECT).metadata["version"] == "v001", "the boxes are those of v001 again"
    assert _rebuilt(copy, version, tmp_path / "out") == before
    assert _rebuilt(copy, "v001", tmp_path / "v001") == files_of(copy.layout.release_folder(PROJECT, "v001"))


# --- resuming ---


@dataclass
class _FullDisk(CarelessDetector):
    """Reports a full disk after the part with the six frames."""

    fails_at: int | None = 10

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        found = super().detect(images, classes, confidence_floor=confidence_floor)
        if self.fails_at is not None and self.num_seen >= self.fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return found


def _life(root: Path, version: str, out: Path, fatal: int) -> int | None:
    """Rebuild in a process that is killed at moment `fatal`. Return the number of moments, or None if it was killed."""
    command = [sys.executable, "-m", killed_rebuild.__name__, str(root), version, str(out), str(fatal)]
    status = subprocess.run(command, check=False).returncode
    assert status in (0, -signal.SIGKILL)
    return int(Path(f"{out}.moments").read_text()) if status == 0 else None


def _num_seen(out: Path) -> int:
    return Path(f"{out}.seen").stat().st_size


def test_rebuild_release__killed_anywhere_goes_on(copy: Platform, tmp_path: Path) -> None:
    for folder in (copy.layout.detection_parts(PROJECT), copy.layout.window_parts(PROJECT), copy.layout.windows):
        shutil.rmtree(folder)
    before, out = files_of(copy.layout.release_folder(PROJECT, "v001")), tmp_path / "out"
    num_moments = _life(copy.root, "v001", tmp_path / "undisturbed", 0)
    num_pictures = _num_seen(tmp_path / "undisturbed")
    assert num_moments is not None
    assert num_pictures == 24  # six frames and the pictures around them
    num_kills = 0
    # shares of the moments of an undisturbed rebuild; after a kill, most of the work is not repeated
    for share in (0.1, 0.35, 0.3, 0.3):
        num_kills += _life(copy.root, "v001", out, round(share * num_moments)) is None
    assert num_kills >= 3
    assert not out.exists()
    assert len(_work_folders(copy)) == 1
    assert _life(copy.root, "v001", out, 0) is not None
    assert files_of(out) == files_of(tmp_path / "undisturbed") == before
    assert _num_seen(out) <= num_pictures + num_kills * killed_rebuild.PART_FRAMES
    assert _work_folders(copy) == []
    assert files_of(copy.layout.release_folder(PROJECT, "v001")) == before


def test_rebuild_release__interrupted_keeps_what_was_examined_for_the_same_release_alone(
    copy: Platform, tmp_path: Path
) -> None:
    detector = CarelessDetector()
    platform = platform_of(copy.root, detector)
    shutil.rmtree(copy.layout.detection_parts(PROJECT))
    shutil.rmtree(copy.layout.window_parts(PROJECT))
    plan = plan_rebuild(platform, PROJECT, version="v001")
    detector.dies_at = 10  # after the part with the six frames
    with pytest.raises(SystemExit):
        rebuild_release(platform, plan, tmp_path / "out")
    (left,) = _work_folders(copy)
    assert not [path for path in left.rglob("*") if path.is_file() and path.is_relative_to(left / "frames")]
    detector.dies_at, detector.num_seen = None, 0
    assert files_of(rebuild_release(platform, plan, tmp_path / "out").folder) == files_of(
        copy.layout.release_folder(PROJECT, "v001")
    )
    assert detector.num_seen == 18  # only the pictures around frames
    detector.dies_at, detector.num_seen = 10, 0
    with pytest.raises(SystemExit):
        rebuild_release(platform, plan, tmp_path / "again")
    detector.dies_at = None
    rebuild_release(platform, plan_rebuild(platform, PROJECT, version="v002"), tmp_path / "other")
    assert _work_folders(copy) == []
    platform.database.dispose()


def test_rebuild_release__an_error_keeps_what_was_examined(copy: Platform, tmp_path: Path) -> None:
    detector = _FullDisk()
    platform = platform_of(copy.root, detector)
    shutil.rmtree(copy.layout.detection_parts(PROJECT))
    shutil.rmtree(copy.layout.window_parts(PROJECT))
    plan = plan_rebuild(platform, PROJECT, version="v001")
    with pytest.raises(OSError, match="No space left"):
        rebuild_release(platform, plan, tmp_path / "out")
    (left,) = _work_folders(copy)
    (found,) = find_unfinished_rebuilds(platform)
    assert (found.path, found.arguments) == (left, (PROJECT, "--version", "v001"))
    assert not (left / "frames").exists()
    detector.fails_at, detector.num_seen = None, 0
    rebuilt = rebuild_release(platform, plan, tmp_path / "out")
    assert files_of(rebuilt.folder) == files_of(copy.layout.release_folder(PROJECT, "v001"))
    assert detector.num_seen == 18  # only the pictures around frames
    assert _work_folders(copy) == []
    platform.database.dispose()


def test_rebuild_release__results_of_other_packages_are_not_continued(
    copy: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = _FullDisk()
    platform = platform_of(copy.root, detector)
    shutil.rmtree(copy.layout.detection_parts(PROJECT))
    shutil.rmtree(copy.layout.window_parts(PROJECT))
    plan = plan_rebuild(platform, PROJECT, version="v001")
    with monkeypatch.context() as patched:
        patched.setattr(unfinished, "versions_of_packages", lambda: {"numpy": "1.0.0"})
        with pytest.raises(OSError, match="No space left"):
            rebuild_release(platform, plan, tmp_path / "out")
    assert not find_unfinished_rebuilds(platform)[0].is_of_these_packages
    detector.fails_at, detector.num_seen = None, 0
    rebuild_release(platform, plan, tmp_path / "out")
    assert detector.num_seen == 24  # all frames and pictures again
    platform.database.dispose()


def test_forget_videos__removes_what_killed_rebuilds_and_exports_have_left(copy: Platform) -> None:
    left = copy.root / ".partial-0123456789ab-rebuild" / "frames" / CLIP / "000000.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"a picture")
    with export_work_folder(copy, "cyclists") as export:
        pass
    export.mkdir()
    (export / "000000.jpg").write_bytes(b"a picture")
    forget_videos(copy, CLIP, reason="asked")
    assert _work_folders(copy) == []
    assert not export.exists()
