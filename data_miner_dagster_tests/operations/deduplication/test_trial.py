"""Test a folder of plain colours, grouped by an encoder whose axes are red, green and blue."""

import shutil
from pathlib import Path

import av
import pytest
from PIL import Image

from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.models.packages import fetch_samples
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.deduplication.trial import try_dedup
from data_miner_dagster_tests.support.axis_project import AxisEncoder
from data_miner_dagster_tests.support.models import PlantedModels

BY_COLOUR = DeduplicationConfig(encoder="filter")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "a").mkdir(parents=True)
    (folder / "b").mkdir()
    Image.new("RGB", (80, 60), (255, 0, 0)).save(folder / "a" / "red.png")
    Image.new("RGB", (40, 30), (255, 0, 20)).save(folder / "a" / "small_red.png")
    Image.new("RGB", (40, 30), (0, 200, 0)).save(folder / "b" / "green.png")
    shutil.copy(folder / "a" / "red.png", folder / "b" / "copy.png")
    (folder / "b" / "broken.jpg").write_bytes(b"no picture")
    return folder


def test_try_dedup__no_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contain an image"):
        try_dedup(PlantedModels(AxisEncoder()), BY_COLOUR, tmp_path)


def test_try_dedup__only_unreadable(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    trial = try_dedup(PlantedModels(AxisEncoder()), BY_COLOUR, tmp_path)
    assert trial.summary == "1 image: 0 kept, 1 unreadable"


def test_try_dedup__largest_group_first(folder: Path) -> None:
    trial = try_dedup(PlantedModels(AxisEncoder()), BY_COLOUR, folder)
    rows = [(row.path.relative_to(folder).as_posix(), row.cells) for row in trial.rows]
    assert rows[0] == ("a/red.png", ("kept", "", "", ""))
    assert rows[1] == ("b/copy.png", ("duplicate", "a/red.png", "1.000", "exact copy"))
    # All plain colours have the same hash, which is ignored: green is kept, and the second red has a similar embedding.
    assert rows[2] == ("a/small_red.png", ("duplicate", "a/red.png", "0.997", "near-duplicate"))
    assert rows[3] == ("b/green.png", ("kept", "", "", ""))
    assert rows[4][1][0] == "unreadable"
    assert trial.rows[0].caption == "kept for 2 more"
    assert trial.summary == "5 images: 2 kept, 1 exact copy, 1 near-duplicate, 1 unreadable"


def test_try_dedup__threshold(folder: Path) -> None:
    trial = try_dedup(PlantedModels(AxisEncoder()), BY_COLOUR.model_copy(update={"threshold": 0.999}), folder)
    assert trial.summary.startswith("5 images: 3 kept, 1 exact copy")


@pytest.mark.models
def test_try_dedup__damaged_upload_is_caught_by_its_hash(tmp_path: Path) -> None:
    """The two sample videos have cosines of .52 to .64 at equal times, and hashes that differ in a few bits."""
    samples = fetch_samples()
    folder = tmp_path / "pictures"
    for kind in ("pristine", "distorted"):
        (folder / kind).mkdir(parents=True)
        with av.open(str(samples[f"carphone_{kind}.mp4"])) as container:
            next(container.decode(video=0)).to_image().save(folder / kind / "first.png")
    trial = try_dedup(ModelProvider(ModelsConfig(profile="lite")), DeduplicationConfig(), folder)
    kept, removed = trial.rows
    assert kept.cells[0] == "kept"
    assert kept.path.parent != removed.path.parent
    assert removed.cells[3] == "same picture, encoded again"
    assert float(removed.cells[2]) < 0.7
