"""Test a clip and its poor re-upload with the real extraction, encoders and search."""

import shutil
from pathlib import Path

import av
import pytest

from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.models.packages import fetch_samples
from data_miner_dagster.operations.deduplication.check import check_deduplication
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.storage.tables import read_table


def write_reupload(clip: Path, target: Path) -> None:
    """Encode a clip again at half its size and with a low bit rate."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as container:
        pictures = source.streams.video[0]
        stream = container.add_stream("libx264", rate=25, options={"crf": "30"})
        stream.width, stream.height, stream.pix_fmt = pictures.width // 4 * 2, pictures.height // 4 * 2, "yuv420p"
        for frame in source.decode(pictures):
            small = frame.reformat(stream.width, stream.height, "yuv420p")
            small.pts = None
            container.mux(stream.encode(small))
        container.mux(stream.encode())


@pytest.mark.models
@pytest.mark.slow
def test_deduplicate_project__poor_reupload_of_a_clip(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    samples = fetch_samples()
    shutil.copy(samples["bikes.mp4"], clips / "bikes.mp4")
    write_reupload(samples["bikes.mp4"], clips / "copy.mp4")
    platform = Platform(PlatformConfig.model_validate({"models": {"profile": "lite"}}), tmp_path / "root")
    config = ProjectConfig.model_validate(
        {
            "name": "clips",
            "sourcing": {"sources": [{"type": "files", "paths": [str(clips)]}]},
            "filtering": {"positive": ["a person"], "positive_threshold": -1, "drop_quality_flags": []},
            "detection": {"classes": {"person": []}},
        }
    )
    dump = config.model_dump(mode="json")
    save_snapshot(platform.database, "clips", dump, fingerprint_of(dump), None)
    list_sources(platform, "clips")
    keys = [row.key for row in find_videos(platform.database, project="clips")]
    assert len(keys) == 2
    for operation in (download_videos, extract_frames, embed_frames):
        assert all(outcome.status.exists for outcome in operation(platform, keys))
    filter_project(platform, "clips")

    outcome = deduplicate_project(platform, "clips")
    assert outcome.status is OutcomeStatus.DONE
    assert outcome.counts["representatives"] < outcome.counts["frames"]
    assert check_deduplication(platform, "clips").holds
    title_by_key = {row.key: row.title for row in find_videos(platform.database, project="clips")}
    found = read_table(platform.layout.reuploads_table("clips")).to_pylist()
    assert [(title_by_key[row["video_key"]], title_by_key[row["original_video_key"]]) for row in found] in (
        [("copy", "bikes")],
        [("bikes", "copy")],  # the blurred copy may also be more similar to the prompt
    )
    assert found[0]["share"] >= 0.8
