"""The command line of `data-miner try`: options in, table and contact sheet out."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from data_miner_dagster.cli.try_folder import app, models_config, show_trial
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.media.contact_sheets import Verdict
from data_miner_dagster.operations.trials import Trial, TrialRow


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    Image.new("RGB", (40, 30), (255, 0, 0)).save(tmp_path / "red.png")
    row = TrialRow(tmp_path / "red.png", ("kept", "0.750"), "0.750 kept", Verdict.KEPT)
    return Trial("filter with axis", ("decision", "positive"), (row,), "1 images: 1 kept")


def test_show_trial__table(trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_trial(trial, tmp_path, sheet=tmp_path / "sheet.webp", as_json=False)
    printed = capsys.readouterr().out
    for words in ("filter with axis", "red.png", "kept", "0.750", "1 images: 1 kept", "sheet.webp"):
        assert words in printed
    assert (tmp_path / "sheet.webp").stat().st_size > 0


def test_show_trial__json(trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_trial(trial, tmp_path, sheet=tmp_path / "sheet.webp", as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["images"] == [{"file": "red.png", "decision": "kept", "positive": "0.750"}]


def test_models_config__flags_over_the_default() -> None:
    config = models_config(None, "lite", role="filter_encoder", model="lite-conse")
    assert (config.profile, config.filter_encoder, config.dedup_encoder) == ("lite", "lite-conse", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], 'no prompt was given; add --positive "a cat"'),
        (["-p", "cat", "--threshold", "3"], "positive_threshold"),
        (["-p", "cat", "--junk", "cat"], "'cat' is in positive and again in junk"),
        (["-p", "cat", "--profile", "tiny"], "profile 'tiny' does not exist; use one of lite, standard"),
        (["-p", "cat", "--config", "missing.yaml"], "missing.yaml does not exist"),
    ],
)
def test_try_filter__mistakes(options: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["filter", str(tmp_path), *options])
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "tiny"], "profile 'tiny' does not exist; use one of lite, standard"),
        (["--encoder", "nothing"], "'nothing'"),
        (["--config", "missing.yaml"], "missing.yaml does not exist"),
    ],
)
def test_try_dedup__mistakes(options: list[str], message: str, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (255, 0, 0)).save(tmp_path / "red.png")
    result = CliRunner().invoke(app, ["dedup", str(tmp_path), *options])
    assert isinstance(result.exception, DataMinerError)
    assert message in str(result.exception)


@pytest.mark.models
def test_try_dedup__real_encoder(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture = Image.effect_mandelbrot((320, 240), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    picture.save(folder / "large.png")
    picture.resize((160, 120)).save(folder / "small.jpg")
    Image.linear_gradient("L").convert("RGB").save(folder / "gradient.png")
    options = ["--profile", "lite", "--json", "--sheet", str(tmp_path / "sheet.webp")]
    result = CliRunner().invoke(app, ["dedup", str(folder), *options], catch_exceptions=False)
    images = {row["file"]: row for row in json.loads(result.stdout)["images"]}
    assert {name: row["decision"] for name, row in images.items()} == {
        "large.png": "kept",
        "small.jpg": "duplicate",
        "gradient.png": "kept",
    }
    assert images["small.jpg"]["duplicate of"] == "large.png"
    assert (tmp_path / "sheet.webp").stat().st_size > 0
