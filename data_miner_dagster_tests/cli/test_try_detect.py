import json
import os
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from data_miner_dagster.cli.try_folder import _classes, app
from data_miner_dagster.domain.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no class to detect was given; add one after the folder, such as bus"),
        (["--class", "cat", "--profile", "tiny"], "profile 'tiny' does not exist; use one of lite, standard"),
        (
            ["--class", "cat", "--profile", "lite", "--detector", "lite-yolo"],
            "'lite-yolo' is not in the model registry",
        ),
        (["--class", "taxi", "--profile", "lite"], "'taxi' is not one of them"),
        (["--image", "bus.jpg"], 'as in --image "bus=bus.jpg"'),
        (
            ["bus", "--image", "bus=a.jpg", "--profile", "lite"],
            "'bus' has `images`, but detector 'lite-yolov3-tiny' does not accept",
        ),
        (
            ["--class", "a=cat", "--class", "b=cat", "--profile", "lite"],
            "the phrase 'cat' is used for both 'a' and 'b'",
        ),
        (["--like", "1,2,0,4", "--profile", "lite"], "--like '1,2,0,4' is not a box; give X,Y,WIDTH,HEIGHT"),
        (["--like", "1,2,3,4", "--unlike", "a", "--profile", "lite"], "--unlike 'a' is not a box"),
        (
            ["--like", "1,2,3,4", "--profile", "lite"],
            "is not a file; with --like, give the picture that the boxes are on",
        ),
        (["--unlike", "1,2,3,4", "--profile", "lite"], "--unlike needs --like"),
        (
            ["bus", "--like", "1,2,3,4", "--profile", "lite"],
            "--like cannot be combined with classes, but 'bus' was given",
        ),
        (["bus", "--unlike", "1,2,3,4", "--profile", "lite"], "--unlike needs --like"),
    ],
)
def test_try_detect__mistakes(options: list[str], message: str, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "black.png")
    result = CliRunner().invoke(app, ["detect", str(tmp_path), *options])
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)


@pytest.mark.models
def test_try_detect__table_and_sheet(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (40, 30)).save(pictures / "black.png")
    sheet = tmp_path / "sheet.webp"
    options = ["--class", "vehicle=bus,a car", "--profile", "lite", "--json", "--sheet", os.fspath(sheet)]
    result = CliRunner().invoke(app, ["detect", str(pictures), *options])
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert content["images"] == [{"file": "black.png", "boxes": "0", "best": "", "found": ""}]
    assert content["summary"] == "1 image, 0 with boxes: 0 vehicle"
    assert sheet.stat().st_size > 0


@pytest.mark.models
def test_try_detect__classes_after_the_folder(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "black.png")
    options = ["bus", "vehicle=a truck,a car", "--class", "person", "--profile", "lite"]
    result = CliRunner().invoke(app, ["detect", str(tmp_path), *options, "--sheet", os.fspath(tmp_path / "sheet.webp")])
    assert result.exit_code == 0
    assert "1 image, 0 with boxes: 0 bus, 0 vehicle, 0 person" in result.stdout


def test_classes__pictures_beside_words_and_alone() -> None:
    asked = _classes(["bus", "car=a car,taxi"], ["bus=a.jpg", "part 7=b=1.jpg", "part 7=c.jpg"])
    assert asked == {
        "bus": {"text": ["bus"], "images": ["a.jpg"]},
        "car": ["a car", "taxi"],
        "part 7": {"text": [], "images": ["b=1.jpg", "c.jpg"]},
    }
