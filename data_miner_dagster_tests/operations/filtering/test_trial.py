"""Test a folder of plain colours, filtered by an encoder to which red is a cat and green a dog."""

from pathlib import Path

import pytest
from PIL import Image

from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.filtering.trial import try_filter
from data_miner_dagster.operations.trials import folder_images, write_contact_sheet
from data_miner_dagster_tests.support.axis_project import AxisEncoder
from data_miner_dagster_tests.support.models import PlantedModels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "inside").mkdir(parents=True)
    Image.new("RGB", (40, 30), (255, 0, 0)).save(folder / "red.png")
    Image.new("RGB", (64, 64), (0, 200, 0)).save(folder / "inside" / "green.png")
    Image.new("RGB", (64, 64), (200, 0, 100)).save(folder / "inside" / "purple.PNG")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    return folder


def test_folder_images__no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        folder_images(tmp_path / "nothing")


def test_folder_images__no_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"contain an image \(\.bmp, \.jpeg, \.jpg, \.png, \.webp\)"):
        folder_images(tmp_path)


def test_folder_images__by_path_and_limited(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in folder_images(folder)]
    assert names == ["broken.jpg", "inside/green.png", "inside/purple.PNG", "red.png"]
    assert len(folder_images(folder, limit=2)) == 2


def test_try_filter__best_first_with_reasons(folder: Path) -> None:
    config = FilteringConfig.model_validate({"positive": ["a cat"], "negative": ["a dog"], "junk": ["slide"]})
    trial = try_filter(PlantedModels(AxisEncoder()), config, folder)
    assert trial.columns == ("decision", "positive", "prompt", "negative", "junk")
    assert [(row.path.name, row.cells) for row in trial.rows] == [
        ("red.png", ("kept", "1.000", "a cat", "0.000", "0.000")),
        ("purple.PNG", ("kept", "0.895", "a cat", "0.000", "0.447")),  # (200, 0, 100) divided by its length, in float16
        ("green.png", ("not similar enough to the prompts", "0.000", "a cat", "1.000", "0.000")),
        ("broken.jpg", ("unreadable", "", "", "", "")),
    ]
    assert trial.summary == "4 images: 2 kept, 1 unreadable, 1 not similar enough to the prompts"


def test_try_filter__names_all_thresholds(folder: Path) -> None:
    prompts = [{"text": "a cat", "threshold": 0.5}, "a bus"]
    config = FilteringConfig.model_validate({"positive": prompts, "positive_threshold": 0.25})
    models = PlantedModels(AxisEncoder())
    assert try_filter(models, config, folder).title.endswith(", positive thresholds 0.25 to 0.5")
    config = FilteringConfig.model_validate({"positive": ["a cat", "a bus"], "positive_threshold": 0.25})
    assert try_filter(models, config, folder).title.endswith(", positive threshold 0.25")


def test_try_filter__rules_about_time_do_not_apply(folder: Path) -> None:
    config = FilteringConfig.model_validate({"positive": ["cat"], "min_gap_seconds": 99, "max_frames_per_video": 1})
    assert try_filter(PlantedModels(AxisEncoder()), config, folder).summary.startswith("4 images: 2 kept")


def test_write_contact_sheet__shows_every_picture(folder: Path, tmp_path: Path) -> None:
    trial = try_filter(PlantedModels(AxisEncoder()), FilteringConfig.model_validate({"positive": ["cat"]}), folder)
    sheet = tmp_path / "sheet.webp"
    assert write_contact_sheet(trial, sheet) == 4
    with Image.open(sheet) as image:
        assert image.format == "WEBP"
        assert image.getpixel((50, 60))[:2] != (0, 0)  # type: ignore[index]
