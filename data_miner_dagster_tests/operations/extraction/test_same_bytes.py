"""Test videos with the same bytes under several keys: decoded and embedded once, otherwise treated as if alone."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from data_miner_dagster.catalog.content import originals_first
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video, record_downloaded
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.records import OutcomeStatus, VideoFileRecord
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.upkeep.removal import remove_videos
from data_miner_dagster_tests.end_to_end.commands import digests
from data_miner_dagster_tests.support.barcode_clips import make_clip
from data_miner_dagster_tests.support.catalog import add_project, add_video
from data_miner_dagster_tests.support.coloured_frames import ColourPlatform

KEYS = ["site-a", "site-b", "site-c"]
FRAMES_OF_A = "the frames were taken from site-a, which has the same bytes"
VECTORS_OF_A = "the embeddings were copied from site-a, which has the same bytes"


@pytest.fixture
def platform(tmp_path: Path) -> ColourPlatform:
    """Return a platform with two videos of the same bytes and one of other bytes, all downloaded."""
    clips = [make_clip(tmp_path / f"{number}.mp4", num_frames=60 + number) for number in (0, 1)]
    platform = ColourPlatform(tmp_path / "root")
    add_project(platform.database, "p")
    for key, clip in zip(KEYS, (clips[0], clips[0], clips[1]), strict=True):
        plant_download(platform, key, clip.read_bytes())
    return platform


def plant_download(platform: Platform, key: str, content: bytes) -> None:
    add_video(platform.database, key, "p")
    path = platform.layout.video_folder(key) / "video.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with platform.database.transaction() as session:
        move_video(session, key, VideoStatus.DOWNLOADING)
        record_downloaded(session, key, VideoFileRecord("video.mp4", len(content), sha256_of_file(path), 2.0, 192, 128))


def results(platform: Platform, key: str) -> dict[str, str]:
    frames, vectors = platform.layout.frames_folder(key), platform.layout.embedding_file("colour", key)
    return {**digests(frames), "vectors": sha256_of_file(vectors)}


def done(platform: Platform, keys: Sequence[str], *, force: bool = False) -> list[tuple[OutcomeStatus, str]]:
    outcomes = [*extract_frames(platform, keys, force=force), *embed_frames(platform, keys, force=force)]
    return [(outcome.status, outcome.message) for outcome in outcomes]


def test_originals_first__the_one_known_longest(platform: ColourPlatform) -> None:
    assert originals_first(platform.database, ["site-b", "site-c", "site-a"]) == (["site-c", "site-a"], ["site-b"])


def test_same_bytes__neither_extracted_nor_embedded_and_the_same_results(platform: ColourPlatform) -> None:
    first = (OutcomeStatus.DONE, "")
    taken = [[first, (OutcomeStatus.REUSED, message), first] for message in (FRAMES_OF_A, VECTORS_OF_A)]
    assert done(platform, KEYS) == [*taken[0], *taken[1]]
    num_frames = sum(row.num_frames or 0 for row in (find_video(platform.database, key) for key in KEYS) if row)
    assert num_frames == 7
    image = "000001.jpg"
    assert (platform.layout.frame_path("site-a", image)).samefile(platform.layout.frame_path("site-b", image))
    reused = results(platform, "site-b")
    assert done(platform, ["site-b"], force=True) == [first, first]  # extracted from its own file
    assert results(platform, "site-b") == reused


def test_same_bytes__stays_when_the_other_goes(platform: ColourPlatform) -> None:
    done(platform, KEYS[:2])
    before = results(platform, "site-b")
    assert remove_videos(platform, ["site-a"], force=True).removed == ("site-a",)
    assert results(platform, "site-b") == before
    assert done(platform, ["site-b"]) == [(OutcomeStatus.REUSED, "")] * 2


def test_same_bytes__of_a_video_whose_frames_are_damaged_is_extracted(platform: ColourPlatform) -> None:
    extract_frames(platform, ["site-a"])
    image = platform.layout.frame_path("site-a", "000000.jpg")
    image.write_bytes(image.read_bytes()[:-1])
    [outcome] = extract_frames(platform, ["site-b"])
    assert (outcome.status, outcome.message) == (OutcomeStatus.DONE, "")


def test_same_bytes__needs_no_file_of_its_own(platform: ColourPlatform) -> None:
    """A file that was removed to free space is not downloaded again if another video has the same frames."""
    extract_frames(platform, ["site-a"])
    (platform.layout.video_folder("site-b") / "video.mp4").unlink()
    [outcome] = extract_frames(platform, ["site-b"])
    assert (outcome.status, outcome.message) == (OutcomeStatus.REUSED, FRAMES_OF_A)
