"""Follow `How to add a detector or an encoder`: the encoder `alike` returns the same vector for every picture."""

from pathlib import Path
from typing import Final

import pytest

from data_miner_dagster_tests.recipes.following import follow, unnamed_files

NEW_FILES: Final = {
    "models/encoders/alike.py": '''
"""An encoder that tells no picture from another."""

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array, RgbImage
from data_miner_dagster.models.registry import ModelEntry


class AlikeEncoder:
    """Implements ImageEncoder."""

    embedding_dim, input_side = 2, 1

    def __init__(self, entry: ModelEntry) -> None:
        self.name = entry.name
        self.fingerprint = entry.fingerprint
        self.calibration = entry.thresholds

    def preprocess(self, image: RgbImage) -> npt.NDArray[np.uint8]:
        """Return the first pixel."""
        return image[0, 0].copy()

    def embed_batch(self, batch: npt.NDArray[np.uint8]) -> Float32Array:
        """Return one direction for all."""
        return np.repeat(np.array([[0, 1]], np.float32), len(batch), axis=0)


def load(entry: ModelEntry, device: str) -> AlikeEncoder:
    """Load an entry of architecture `alike`."""
    return AlikeEncoder(entry)
''',
}
CHANGES: Final = {
    "models/architectures.py": {
        '    "clip": Architecture(': (
            '    "alike": Architecture(\n'
            "        Capability.IMAGE_ENCODER,\n"
            '        f"{_MODELS}.encoders.alike:load",\n'
            "        calibration=SimilarityCalibration(positive_threshold=1.0, duplicate_threshold=0.5),\n"
            "    ),\n"
            '    "clip": Architecture('
        ),
    },
    "models/registry.py": {
        '        _packaged("lite-efficientnet"': (
            '        _packaged("alike-1", "alike", "CC0-1.0"),\n        _packaged("lite-efficientnet"'
        ),
    },
}

USED: Final = """
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.encoders import ImageEncoder, ImageTextEncoder
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests.support.sample_project import build_project

root = tmp_path / "root"
build_project(root, through="filtering")
config = PlatformConfig.model_validate({"models": {"profile": "lite", "dedup_encoder": "alike-1"}})
platform = Platform(config, root)
encoder = platform.models.dedup_encoder.load()
assert isinstance(encoder, ImageEncoder) and not isinstance(encoder, ImageTextEncoder)
made = deduplicate_project(platform, "cyclists")
assert (made.counts["frames"], made.counts["representatives"]) == (9, 1), made.counts
assert (made.metadata["encoder"], made.metadata["threshold"]) == ("alike-1", 0.5), made.metadata
rows = read_table(platform.layout.deduplicated_table("cyclists")).to_pylist()
assert len({row["representative_frame_id"] for row in rows}) == 1
assert all(row["similarity"] == 1 for row in rows if not row["is_representative"])
assert deduplicate_project(platform, "cyclists").status.value == "reused"
"""


@pytest.mark.slow
def test_recipe_of_an_encoder__what_it_names_is_enough(tmp_path: Path) -> None:
    follow(tmp_path, NEW_FILES, CHANGES, USED)


def test_recipe_of_an_encoder__names_every_file() -> None:
    assert unnamed_files("How to add a detector or an encoder", CHANGES) == []
