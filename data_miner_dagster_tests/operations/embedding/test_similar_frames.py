import re
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.catalog.pending import record_bases
from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, fingerprint_of
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.bases import embedding_basis
from data_miner_dagster.operations.embedding.similar_frames import find_similar
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.vectors import StoredEmbeddings, write_embeddings
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.frames import write_frames
from data_miner_dagster_tests.support.sample_project import build_platform, project_config

DIRECTIONS = {"x-a": [[1, 0], [0.8, 0.6]], "x-b": [[0.6, 0.8], [0, 1]], "x-c": [[1, 0], [-1, 0]]}


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Return a platform with three videos of two frames each, two of which belong to a project."""
    platform = build_platform(tmp_path / "root")
    dumped = project_config("some").model_dump(mode="json")
    save_snapshot(platform.database, "some", dumped, fingerprint_of(dumped), None)
    encoder = platform.models.filter_encoder
    for key, rows in DIRECTIONS.items():
        wanted = ["some"] if key != "x-c" else []
        add_video(platform.database, key, *wanted, status=VideoStatus.EXTRACTED, title=f"title {key}")
        write_frames(platform.layout, key, 2, fingerprint="frames-1", seconds_apart=2.5)
        fingerprint = embeddings_fingerprint_of("frames-1", encoder.fingerprint)
        vectors = np.array(rows, np.float16)
        stored = StoredEmbeddings(np.arange(2, dtype=np.int32), vectors, fingerprint)
        write_embeddings(platform.layout.embedding_file(encoder.name, key), stored)
        with platform.database.transaction() as session:
            record_bases(session, WorkStage.EMBEDDING, {key: embedding_basis(encoder)})
    return platform


def test_find_similar__of_a_stored_frame_without_a_model(platform: Platform) -> None:
    found = find_similar(platform, "x-a/000000", count=4)
    assert [(frame.frame_id, round(frame.cosine, 2)) for frame in found.frames] == [
        ("x-a/000000", 1.0),
        ("x-c/000000", 1.0),
        ("x-a/000001", 0.8),
        ("x-b/000000", 0.6),
    ]
    second = found.frames[2]
    assert (second.video_name, second.pts_seconds, second.address) == ("title x-a", 2.5, "https://example.org/x-a#t=2")
    assert (found.num_videos, found.num_without_embeddings, found.left_out) == (3, 0, ())
    assert second.picture is None  # the images were not written


def test_find_similar__of_a_project(platform: Platform) -> None:
    found = find_similar(platform, "x-a/000000", count=10, project="some")
    assert [frame.frame_id for frame in found.frames] == ["x-a/000000", "x-a/000001", "x-b/000000", "x-b/000001"]
    with pytest.raises(ConfigError, match="project 'sme' does not exist"):
        find_similar(platform, "x-a/000000", project="sme")


def test_find_similar__what_cannot_be_compared_is_named(platform: Platform) -> None:
    add_video(platform.database, "x-d", status=VideoStatus.EXTRACTED)
    file = platform.layout.embedding_file(platform.models.filter_encoder.name, "x-b")
    file.write_bytes(file.read_bytes()[:200])
    found = find_similar(platform, "x-a/000000")
    assert [frame.frame_id for frame in found.frames] == ["x-a/000000", "x-c/000000", "x-a/000001", "x-c/000001"]
    assert found.num_without_embeddings == 1
    assert [line.partition(":")[0] for line in found.left_out] == ["x-b"]
    file.unlink()
    assert find_similar(platform, "x-a/000000").left_out[0].startswith("x-b: ")


def test_find_similar__nothing_to_compare(tmp_path: Path) -> None:
    platform = build_platform(tmp_path / "root")
    with pytest.raises(ConfigError, match="no video has embeddings from 'lite-conse', the filter encoder of this root"):
        find_similar(platform, "a bicycle")


def test_find_similar__a_picture_that_is_none(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"x\.jpg cannot be read: "):
        find_similar(platform, str(tmp_path / "x.jpg"))


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (
            "files-absent/000001",
            "frame files-absent/000001 does not exist, because the catalog has no video files-absent; correct the id",
        ),
        ("/pictures/absent.JPG", "picture /pictures/absent.JPG does not exist; correct the path"),
        ("  ", "the text to search for is empty; give a frame id, the path of a picture, or words"),
    ],
)
def test_find_similar__a_mistyped_frame_or_path_is_no_text(platform: Platform, what: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(why)}$"):
        find_similar(platform, what)
