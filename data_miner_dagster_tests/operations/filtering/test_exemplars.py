"""Test exemplars beside the words of a prompt, from files to decisions. Red is "cat", green "dog", blue "slide"."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.config.project_limits import ProjectLimits
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.builds import present_basis
from data_miner_dagster.operations.exemplars import find_exemplars
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.filtering.open_frames import read_open_frames
from data_miner_dagster.operations.filtering.trial import try_filter
from data_miner_dagster.operations.reporting.previews import kept_tiles
from data_miner_dagster.storage.similarities import read_header
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests.support import coloured_frames
from data_miner_dagster_tests.support.axis_project import PlantedPlatform, plant_frames, save_project
from data_miner_dagster_tests.support.catalog import add_video

GREEN, TEAL, RED, BLUE = (0, 255, 0), (0, 153, 204), (255, 0, 0), (0, 0, 255)
COLUMN = "similarity:cat"


def _picture(path: Path, colour: tuple[int, int, int]) -> str:
    assert cv2.imwrite(str(path), np.full((24, 32, 3), colour[::-1], np.uint8))
    return str(path)


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    return PlantedPlatform(tmp_path / "root")


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    return [_picture(tmp_path / "green.png", GREEN), _picture(tmp_path / "teal.png", TEAL)]


def _two_frames(platform: PlantedPlatform, images: list[str], **filtering: Any) -> None:
    save_project(platform, positive=[{"text": "cat", "images": images}], **filtering)
    add_video(platform.database, "local-a", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-a", [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])


def _similarities(platform: PlantedPlatform) -> list[float]:
    table = read_table(platform.layout.similarities_table("pets"))
    return [round(float(value), 3) for value in table.column(COLUMN).to_pylist()]


def test_filter_project__words_and_exemplars_by_hand(platform: PlantedPlatform, images: list[str]) -> None:
    """As in the test of the pure function: .75 of the exemplars' mean, .25 of the words, moved by .05."""
    _two_frames(platform, images)
    outcome = filter_project(platform, "pets")
    assert outcome.counts == {"frames": 3, "kept": 1, "below_positive": 2}
    assert outcome.metadata["exemplars"] == f"cat: {images[0]}, {images[1]}"
    assert _similarities(platform) == [0.3, 0.65, 0.35]
    assert filter_project(platform, "pets").status is OutcomeStatus.REUSED
    assert len(read_open_frames(platform, "pets", platform.project_config("pets").filtering).frame_indices) == 3


def test_filter_project__other_bytes_are_scored_again(platform: PlantedPlatform, images: list[str]) -> None:
    _two_frames(platform, images)
    filter_project(platform, "pets")
    row = find_project(platform.database, "pets")
    assert row is not None
    basis = present_basis(platform, row)
    for path in map(Path, images):
        _picture(path, BLUE)
    assert present_basis(platform, row) != basis
    assert filter_project(platform, "pets").status is OutcomeStatus.DONE
    assert _similarities(platform) == [0.0, -0.25, 0.5]  # two equal exemplars, weighted by .75 and moved by -.25
    Path(images[1]).unlink()
    with pytest.raises(ConfigError, match=r"exemplar .*teal.png of 'cat' cannot be read \(No such file or directory\)"):
        filter_project(platform, "pets")
    assert present_basis(platform, row) != basis


def test_filter_project__an_exemplar_that_is_no_picture(platform: PlantedPlatform, images: list[str]) -> None:
    Path(images[1]).write_bytes(b"no picture")
    _two_frames(platform, images)
    with pytest.raises(ConfigError, match=r"exemplar .*teal.png cannot be read"):
        filter_project(platform, "pets")


def test_filter_project__weight_counts_and_words_alone_say_nothing_of_exemplars(
    platform: PlantedPlatform, images: list[str]
) -> None:
    _two_frames(platform, images, exemplar_weight=0.5)
    filter_project(platform, "pets")
    assert _similarities(platform) == [0.7, 0.6, 0.4]  # .5 of the words, and .5 * .6 = .3 moved by .2
    save_project(platform)
    filter_project(platform, "pets")
    assert _similarities(platform) == [1.0, 0.0, 0.0]
    header = read_header(platform.layout.similarities_table("pets"))
    assert header is not None
    assert not any("exemplar" in name for name in header.as_json())


def test_filter_project__pictures_are_compared_by_the_dedup_encoder(
    platform: PlantedPlatform, images: list[str]
) -> None:
    """The frames show other colours than their planted vectors say, which reveals which encoder was used for what."""
    tone = coloured_frames.ColourEncoder("tone")
    platform.models.planted_dedup = tone  # type: ignore[attr-defined]
    _two_frames(platform, images, exemplar_encoder="dedup")
    coloured_frames.plant_frames(platform, "local-a", [GREEN, RED, GREEN])
    assert filter_project(platform, "pets").counts["kept"] == 2
    assert _similarities(platform) == pytest.approx([0.25 + 0.65, 0.05, 0.65], abs=0.01)
    captions = [tile.caption for tile in kept_tiles(platform, platform.project_config("pets"), 2)]
    assert captions == ["0.90 cat + green.png and 1 more", "0.65 cat + green.png and 1 more"]
    seen = sum(tone.batch_sizes)
    assert filter_project(platform, "pets", force=True).status is OutcomeStatus.DONE
    assert sum(tone.batch_sizes) == seen  # the vectors of frames and exemplars are stored


def test_try_filter__exemplars_relative_to_the_file(
    platform: PlantedPlatform, tmp_path: Path, images: list[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (("red", RED), ("green", GREEN)):
        _picture(folder / f"{name}.png", colour)
    prompt = {"text": "cat", "images": [Path(path).name for path in images]}
    trial = try_filter(
        platform.models, FilteringConfig.model_validate({"positive": [prompt]}), folder, exemplar_folder=tmp_path
    )
    assert [(row.path.stem, row.cells[1]) for row in trial.rows] == [("green", "0.650"), ("red", "0.300")]


def test_find_exemplars__outside_of_what_a_watched_file_may_read(tmp_path: Path, images: list[str]) -> None:
    config = FilteringConfig.model_validate({"positive": [{"text": "cat", "images": images}]})
    with pytest.raises(ConfigError, match=r"exemplar of 'cat': .*green.png is outside the folders"):
        find_exemplars(config, tmp_path, ProjectLimits(media_folders=(tmp_path / "allowed",)))
    assert [one.name for one in find_exemplars(config, tmp_path)["cat"]] == images


@pytest.mark.parametrize(
    ("images", "why"),
    [
        (["one.png"], "has a single picture, from which no tolerance can be derived"),
        (["one.png", "one.png"], "names one.png more than once"),
        (["s3://bucket/one.png", "two.png"], "is in a bucket"),
    ],
)
def test_filtering_config__images_that_are_refused(images: list[str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        FilteringConfig.model_validate({"positive": [{"text": "cat", "images": images}]})


def test_filtering_config__without_images_the_settings_are_written_as_before() -> None:
    dumped = FilteringConfig.model_validate({"positive": ["cat"]}).model_dump(mode="json")
    assert dumped["positive"] == [{"text": "cat", "threshold": None, "margin": None}]
    assert not any("exemplar" in name for name in dumped)
