"""Raise an unexpected exception at each boundary of each stage for one of twenty videos.

The clips, files, catalog and workers are real. The models are planted, since their results do not matter here.
"""

import importlib
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from data_miner_dagster.catalog.counts import count_project_videos, count_videos
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.videos import find_videos, retry_videos
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import SystematicFaultError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import (
    Float32Array,
    ProjectOutcome,
    RgbImage,
    SimilarityCalibration,
)
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster_tests.end_to_end.commands import write_yaml
from data_miner_dagster_tests.support.barcode_clips import make_clip
from data_miner_dagster_tests.support.models import OneBox, PlantedModels

NUM_VIDEOS = 20
VICTIM = "clip_13"
PROJECT = "things"
OPERATIONS = "data_miner_dagster.operations"

pytestmark = pytest.mark.slow(40)


class _PlantedError(ZeroDivisionError):
    """An error that no code expects."""


def _blocks(number: int) -> npt.NDArray[np.uint8]:
    """Return the (8, 8) blocks that video `number` shows."""
    return np.random.default_rng(number).choice(np.array([20, 128, 235], np.uint8), (8, 8))


KNOWN = np.stack([_blocks(number).reshape(-1) for number in range(NUM_VIDEOS)]).astype(np.float32)


class _BlocksEncoder:
    """An encoder for which all videos are orthogonal to each other and equally similar to every prompt."""

    name = "blocks"
    fingerprint = "blocks-1"
    embedding_dim = 1 + NUM_VIDEOS
    input_side = 128
    calibration = SimilarityCalibration(0.5, 0.9)

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        height, width = image.shape[0] // 8, image.shape[1] // 8
        grey = image[: 8 * height, : 8 * width].mean(axis=2).reshape(8, height, 8, width)
        return np.asarray(grey.mean(axis=(1, 3)).reshape(-1), np.float32)

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        nearest = np.abs(batch[:, None] - KNOWN[None]).sum(axis=2).argmin(axis=1)
        vectors = np.zeros((len(batch), self.embedding_dim), np.float32)
        vectors[:, 0], vectors[np.arange(len(batch)), 1 + nearest] = 0.6, 0.8
        return vectors

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        vectors = np.zeros((len(prompts), self.embedding_dim), np.float32)
        vectors[:, 0] = 1
        return vectors


def _platform(root: Path) -> Platform:
    config = PlatformConfig.model_validate({"downloading": {"local_files": "hardlink"}, "extraction": {"workers": 2}})
    encoder = _BlocksEncoder()
    return Platform(config, root, models=PlantedModels(encoder, encoder, [OneBox((8, 8, 64, 64))]))


def _run(platform: Platform) -> ProjectOutcome:
    list_sources(platform, PROJECT)
    keys = [video.key for video in find_videos(platform.database, project=PROJECT)]
    download_videos(platform, keys)
    extract_frames(platform, keys)
    embed_frames(platform, keys)
    filter_project(platform, PROJECT)
    deduplicate_project(platform, PROJECT)
    detect_project(platform, PROJECT)
    return release_project(platform, PROJECT)


@pytest.fixture(scope="module")
def project_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twenty")
    (folder / "clips").mkdir()
    for number in range(NUM_VIDEOS):
        picture = np.kron(_blocks(number), np.ones((16, 24), np.uint8))[..., None].repeat(3, axis=2)
        make_clip(folder / "clips" / f"clip_{number:02}.mp4", num_frames=2, pictures=[picture] * 2)
    content = {
        "name": PROJECT,
        "sourcing": {"sources": [{"type": "files", "paths": ["clips"]}]},
        "filtering": {"positive": ["a thing"]},
        "detection": {"classes": {"thing": []}},
    }
    return write_yaml(folder / f"{PROJECT}.yaml", content)


@pytest.fixture(scope="module")
def extracted(project_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root in which all twenty videos have their frames."""
    platform = _platform(tmp_path_factory.mktemp("extracted") / "root")
    register_project_file(platform, project_file)
    list_sources(platform, PROJECT)
    keys = [video.key for video in find_videos(platform.database)]
    assert len(keys) == NUM_VIDEOS
    download_videos(platform, keys)
    assert {outcome.status.value for outcome in extract_frames(platform, keys)} == {"done"}
    platform.database.engine.dispose()
    return platform.root


@pytest.fixture
def platform(tmp_path: Path, project_file: Path) -> Platform:
    made = _platform(tmp_path / "root")
    register_project_file(made, project_file)
    return made


@pytest.fixture
def later_platform(tmp_path: Path, extracted: Path) -> Platform:
    shutil.copytree(extracted, tmp_path / "root")
    return _platform(tmp_path / "root")


def _victim_key(platform: Platform) -> str:
    return next(video.key for video in find_videos(platform.database) if VICTIM in video.url)


def _plant(monkeypatch: pytest.MonkeyPatch, boundary: str, is_hit: Callable[[str], bool]) -> None:
    """Make a boundary raise whenever one of its arguments names a victim."""
    module, _, name = boundary.partition(":")
    *owners, attribute = name.split(".")
    owner: Any = importlib.import_module(f"{OPERATIONS}.{module}")
    for step in owners:
        owner = getattr(owner, step)
    original = getattr(owner, attribute)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if any(is_hit(repr(argument)) for argument in (*arguments, *named.values())):
            raise _PlantedError("planted")
        return original(*arguments, **named)

    monkeypatch.setattr(owner, attribute, wrapped)


def _reasons(platform: Platform) -> list[str]:
    """Return the distinct reasons why videos failed and why the project goes on without a member."""
    videos = [video.error or "" for video in find_videos(platform.database) if video.error_kind is not None]
    members = [member.reason.partition(": ")[2] for member in find_members(platform.database, PROJECT) if member.reason]
    return sorted(set(videos + members))


def _status_counts(platform: Platform) -> dict[str, int]:
    """Return the numbers of videos and members with an internal error in `data-miner status`, leaving out zeros."""
    database = platform.database
    videos = sum(row.count for row in count_videos(database, PROJECT) if row.reason == "internal_error")
    members = sum(row.count for row in count_project_videos(database, PROJECT) if row.reason == "internal_error")
    return {name: number for name, number in (("videos", videos), ("members", members)) if number}


@pytest.mark.parametrize(
    ("boundary", "counts"),
    [
        ("sourcing.local_keys:key_of_file", {"members": 1}),
        ("downloading.download_videos:fetch_local_file", {"videos": 1, "members": 1}),
        ("foreign.media_workers:MediaWorkers.probe", {"videos": 1, "members": 1}),
        ("extraction.extract_frames:FrameWorkers.make_frame_folder", {"videos": 1, "members": 1}),
    ],
)
def test_run__one_of_twenty_until_its_frames_exist(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, boundary: str, counts: dict[str, int]
) -> None:
    names = [VICTIM]
    with monkeypatch.context() as patched:
        if boundary != "sourcing.local_keys:key_of_file":  # once listed, videos are identified by their keys
            list_sources(platform, PROJECT)
            names.append(_victim_key(platform))
        _plant(patched, boundary, lambda text: any(name in text for name in names))
        outcome = _run(platform)
    assert outcome.counts["images"] == NUM_VIDEOS - 1
    assert _status_counts(platform) == counts
    (line,) = _reasons(platform)
    assert re.fullmatch(r"_PlantedError: planted \(operations/[a-z_/]+\.py:\d+\)", line)

    retry_videos(platform.database, kinds={VideoErrorKind.INTERNAL_ERROR})
    assert _run(platform).counts["images"] == NUM_VIDEOS
    assert _status_counts(platform) == {}


@pytest.mark.parametrize(
    ("boundary", "counts"),
    [
        ("foreign.stored_pictures:read_stored_image_reduced", {"videos": 1, "members": 1}),
        ("filtering.scoring:read_embeddings", {"members": 1}),
        ("embedding.vectors:load_vectors", {"members": 1}),
        ("foreign.stored_pictures:read_stored_image", {"members": 1}),
        ("detection.deciding:detection_rows", {"members": 1}),
        ("releasing.source:ReleaseSource._frame_of", {}),
        ("releasing.writing:_write_image", {}),
    ],
)
def test_run__one_of_twenty_whose_frames_exist(
    later_platform: Platform, monkeypatch: pytest.MonkeyPatch, boundary: str, counts: dict[str, int]
) -> None:
    key = _victim_key(later_platform)
    with monkeypatch.context() as patched:
        _plant(patched, boundary, lambda text: key in text)
        outcome = _run(later_platform)
    assert outcome.counts["images"] == NUM_VIDEOS - 1
    assert _status_counts(later_platform) == counts
    if counts:
        (line,) = _reasons(later_platform)
        assert re.fullmatch(r"_PlantedError: planted \(operations/[a-z_/]+\.py:\d+\)", line)
    else:  # only an image fails, not the video
        assert outcome.counts["left out"] == 1
    retry_videos(later_platform.database, kinds={VideoErrorKind.INTERNAL_ERROR})
    assert _run(later_platform).counts["images"] == NUM_VIDEOS


@pytest.mark.parametrize("boundary", ["releasing.release_project:write_report", "reporting.report:detection_tiles"])
def test_run__a_report_that_cannot_be_drawn_fails_no_release(
    later_platform: Platform, monkeypatch: pytest.MonkeyPatch, boundary: str
) -> None:
    _plant(monkeypatch, boundary, lambda _text: True)
    outcome = _run(later_platform)
    assert outcome.counts["images"] == NUM_VIDEOS
    assert later_platform.layout.release_folder(PROJECT, "v001").is_dir()
    if boundary == "releasing.release_project:write_report":
        assert re.fullmatch(r"not drawn: _PlantedError: planted \(.*\)", str(outcome.metadata["report"]))
    else:  # the page only lacks one gallery
        assert Path(str(outcome.metadata["report"])).is_file()


@pytest.mark.parametrize(
    ("boundary", "which"),
    [
        ("sourcing.local_keys:key_of_file", "10 items in a row"),
        ("foreign.media_workers:MediaWorkers.probe", "10 items in a row"),
        ("extraction.extract_frames:FrameWorkers.make_frame_folder", "10 items in a row"),
        ("foreign.stored_pictures:read_stored_image_reduced", "10 items in a row"),
        ("filtering.scoring:read_embeddings", "10 items in a row"),
        ("embedding.vectors:load_vectors", "10 items in a row"),
        ("foreign.stored_pictures:read_stored_image", "10 items in a row"),
        ("releasing.source:ReleaseSource._frame_of", "10 items in a row"),
        ("releasing.writing:_place_image", "10 items in a row"),
    ],
)
def test_run__a_fault_of_all_ends_the_run_and_charges_nobody(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, boundary: str, which: str
) -> None:
    is_early = boundary.startswith(("sourcing.queries", "foreign.media_workers", "extraction"))
    platform: Platform = request.getfixturevalue("platform" if is_early else "later_platform")
    with monkeypatch.context() as patched:
        _plant(patched, boundary, lambda _text: True)
        with pytest.raises(SystematicFaultError, match=rf"{which} failed with the same .*: _PlantedError: planted"):
            _run(platform)
    assert _status_counts(platform) == {}
    # Finished downloads count as attempts. Everything else is as if it had not been tried.
    num_downloads = 0 if boundary.startswith("foreign.media_workers") else 1
    assert {(video.error_kind, video.attempts) for video in find_videos(platform.database)} <= {(None, num_downloads)}
