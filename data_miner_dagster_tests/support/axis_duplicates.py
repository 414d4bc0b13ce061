"""Planted projects for deduplication: frames with chosen embeddings, files and hashes."""

from collections.abc import Sequence
from typing import Any

from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.deduplication.check import check_deduplication
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests.support.axis_project import PlantedPlatform, plant_frames
from data_miner_dagster_tests.support.catalog import add_video

CAT = (1.0, 0.0, 0.0, 0.0)
CAT_ON_BUS = (0.8, 0.0, 0.0, 0.6)
CAT_ON_SLIDE = (0.8, 0.0, 0.6, 0.0)
NEARLY_CAT = (0.995, 0.1, 0.0, 0.0)  # its cosine with CAT is .995
DOG = (0.0, 1.0, 0.0, 0.0)  # dropped by the filter


def save(platform: PlantedPlatform, name: str = "pets", **deduplication: Any) -> None:
    """Save a project that keeps cats and compares frames by their planted embeddings, with a threshold of .9."""
    config = ProjectConfig.model_validate(
        {
            "name": name,
            "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
            "filtering": {"positive": ["cat"]},
            "deduplication": {"encoder": "filter", **deduplication},
            "detection": {"classes": {"cat": []}},
        }
    )
    dump = config.model_dump(mode="json")
    save_snapshot(platform.database, name, dump, fingerprint_of(dump), None)


def plant(
    platform: PlantedPlatform,
    key: str,
    vectors: Sequence[Sequence[float]],
    *,
    project: str = "pets",
    frames_fingerprint: str = "frames-1",
    **columns: Sequence[object],
) -> None:
    """Add a video with one frame per vector; unless `columns` say otherwise, all files and hashes differ."""
    add_video(platform.database, key, project, status=VideoStatus.EXTRACTED)
    differing: dict[str, Any] = {
        "sha256": [fingerprint_of({"key": key, "index": index}) for index in range(len(vectors))],
        "perceptual_hash": [int(fingerprint_of({"hash": key, "i": index})[:16], 16) for index in range(len(vectors))],
    }
    plant_frames(platform, key, vectors, frames_fingerprint=frames_fingerprint, **(differing | columns))


def decisions(platform: PlantedPlatform, project: str = "pets") -> dict[str, tuple[str, str | None]]:
    """Check both guarantees of deduplication, and return (representative, tier) by frame id."""
    assert check_deduplication(platform, project).holds
    rows = read_table(platform.layout.deduplicated_table(project)).to_pylist()
    return {row["frame_id"]: (row["representative_frame_id"], row["tier"]) for row in rows}


def run(platform: PlantedPlatform, project: str = "pets", **kwargs: Any) -> dict[str, tuple[str, str | None]]:
    """Filter and deduplicate a project, and return the decisions of deduplication."""
    filter_project(platform, project)
    assert deduplicate_project(platform, project, **kwargs).status is OutcomeStatus.DONE
    return decisions(platform, project)
