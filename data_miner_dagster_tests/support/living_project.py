"""A project that grows and changes: real pictures, tables and operations, and models with predictable answers.

A picture is an angle. Its similarity to the prompt is the cosine of the angle, and two pictures are near-duplicates if
their angles are close. The effect of every stage on a project can therefore be worked out on paper.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from data_miner_dagster.catalog.members import add_candidates
from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, fingerprint_of
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.storage.vectors import StoredEmbeddings, write_embeddings
from data_miner_dagster_tests.support.axis_project import PlantedPlatform
from data_miner_dagster_tests.support.coloured_shapes import ColourDetector, jpeg_of
from data_miner_dagster_tests.support.frames import write_pictures

PROJECT = "life"
STAGES = (filter_project, deduplicate_project, detect_project)


class LivingPlatform(PlantedPlatform):
    """A platform on one root with one project."""

    def __init__(self, root: Path, looking: ColourDetector | None = None) -> None:
        self.looking = looking or ColourDetector()
        super().__init__(root, detectors=[self.looking])

    def configure(
        self,
        *,
        keep: float,
        near: float,
        splits: Mapping[str, float],
        confidence: float,
        unsure_from: float | None = None,
    ) -> None:
        """Save the project with these settings."""
        config = ProjectConfig.model_validate(
            {
                "name": PROJECT,
                "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
                "filtering": {"positive": ["cat"], "positive_threshold": keep},
                "deduplication": {
                    "encoder": "filter",
                    "threshold": near,
                    "same_place": "nowhere",  # only the angles decide
                    "perceptual_hash_minimum_contrast": 256,
                    "perceptual_hash_distance": 0,
                },
                "detection": {"classes": {"red": []}, "confidence_floor": 0.001},
                "releasing": {
                    "splits": dict(splits),
                    "confidence_threshold": confidence,
                    "unsure_from": unsure_from,
                    "guard_seconds": 0.0,  # keep all images, even with only one or two videos
                },
            }
        )
        dump = config.model_dump(mode="json")
        save_snapshot(self.database, PROJECT, dump, fingerprint_of(dump), None)

    def add(self, key: str, angles: Sequence[int], project: str = PROJECT) -> None:
        """Make a video a member, as if a person had listed it, and give it frames at these angles in degrees."""
        candidate = VideoCandidate(
            key, f"/clips/{key}.mp4", "files", ".", 0, datetime(2026, 1, 1, tzinfo=UTC), origin=Origin.LOCAL
        )
        with self.database.transaction() as session:
            add_candidates(session, project, [(candidate, None)], takes_back=True)
            row = session.get_one(VideoRow, key)
            row.status, row.num_frames, row.sha256 = VideoStatus.EXTRACTED, len(angles), "0" * 64
        if self.layout.frames_table(key).exists():
            return
        contents = [jpeg_of([("red", (2, 2, 2 + angle // 3, 30))]) for angle in angles]
        write_pictures(self.layout, key, contents, fingerprint=f"frames of {key}")
        radians = np.radians(np.asarray(angles, np.float64))
        vectors = np.zeros((len(angles), self.encoder.embedding_dim), np.float16)
        vectors[:, 0], vectors[:, 1] = np.cos(radians), np.sin(radians)
        stored = StoredEmbeddings(
            np.arange(len(angles), dtype=np.int32),
            vectors,
            embeddings_fingerprint_of(f"frames of {key}", self.encoder.fingerprint),
        )
        write_embeddings(self.layout.embedding_file(self.encoder.name, key), stored)

    def run_stages(self, number: int = len(STAGES)) -> None:
        """Run the first `number` stages between extraction and a release."""
        for stage in STAGES[:number]:
            stage(self, PROJECT)
