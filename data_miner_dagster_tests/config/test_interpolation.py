from pathlib import Path

import pytest

from data_miner_dagster.config.interpolation import Interpolations, ShownSettings, find_interpolations
from data_miner_dagster.config.loading import config_hash, load_project_file
from data_miner_dagster.config.settings import ProjectConfig

PROJECT = """\
name: ${oc.env:DM_TEST_NAME}
description: by ${oc.env:DM_TEST_MAKER} for ${name}
sourcing: {sources: [{type: urls, urls: ['https://videos.example/${oc.env:DM_TEST_FOLDER}/a.mp4']}]}
filtering:
  positive:
  - ${oc.env:DM_TEST_PROMPT}
  - {text: 'the ${filtering.positive.0}', threshold: '${oc.env:DM_TEST_NUMBER}'}
  - a car
  negative_margin: ${oc.env:DM_TEST_MISSING,0.25}
detection: {classes: {a: ['${oc.env:DM_TEST_PROMPT}', truck]}}
releasing: {splits: {train: '${oc.env:DM_TEST_SHARE}', val: 0.5}}
platform: {models: {device: '${oc.env:DM_TEST_DEVICE}'}}
"""
VALUES = {
    "DM_TEST_NAME": "zqproject",
    "DM_TEST_MAKER": "a zqstudio",
    "DM_TEST_FOLDER": "zq folder",
    "DM_TEST_PROMPT": "bus",
    "DM_TEST_NUMBER": "0.625",
    "DM_TEST_SHARE": "0.5",
    "DM_TEST_DEVICE": "cpu",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectConfig:
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "p.yaml").write_text(PROJECT)
    return load_project_file(tmp_path / "p.yaml").project


def test_shown__nothing_is_interpolated() -> None:
    assert find_interpolations({"a": "${b}", "b": "x"}, {"a": "x", "b": "x"}) == Interpolations()
    shown = ShownSettings({"filtering": {"positive": ["a car"]}}, Interpolations())
    assert shown.section("filtering") == {"positive": ["a car"]}
    assert shown.text("a car") == "a car"


def test_shown__settings_work_and_are_shown_as_they_were_written(project: ProjectConfig) -> None:
    assert project.description == "by a zqstudio for zqproject"
    assert project.filtering.texts_of("positive") == ("bus", "the bus", "a car")
    shown = project.shown
    assert shown.text(project.description) == "by ${oc.env:DM_TEST_MAKER} for ${oc.env:DM_TEST_NAME}"
    filtering = shown.section("filtering")
    assert filtering["positive"] == [
        {"text": "${oc.env:DM_TEST_PROMPT}", "threshold": None, "margin": None},
        {"text": "the ${oc.env:DM_TEST_PROMPT}", "threshold": "${oc.env:DM_TEST_NUMBER}", "margin": None},
        {"text": "a car", "threshold": None, "margin": None},
    ]
    assert filtering["negative_margin"] == 0.25  # the default is in the file itself
    assert shown.section("detection")["classes"] == {"a": ["${oc.env:DM_TEST_PROMPT}", "truck"]}
    assert shown.section("releasing")["splits"] == {"train": "${oc.env:DM_TEST_SHARE}", "val": 0.5}


def test_shown__texts_about_settings(project: ProjectConfig) -> None:
    shown = project.shown
    assert shown.text("bus") == "${oc.env:DM_TEST_PROMPT}"
    assert shown.text("the title contains 'bus'") == "the title contains '${oc.env:DM_TEST_PROMPT}'"
    assert shown.text("this is a business") == "this is a business"  # too short to be searched for within a text
    assert shown.text("best picture 0.1 to 'a zqstudio'") == "best picture 0.1 to '${oc.env:DM_TEST_MAKER}'"
    address = "https://videos.example/${oc.env:DM_TEST_FOLDER}/a.mp4"
    assert shown.text("https://videos.example/zq folder/a.mp4") == address
    assert shown.text("https://videos.example/zq%20folder/a.mp4: 404") == f"{address}: 404"
    assert shown.everywhere({"a": ["of a zqstudio", 1, None]}) == {"a": ["of ${oc.env:DM_TEST_MAKER}", 1, None]}


def test_snapshot__keeps_what_works_and_what_is_shown(project: ProjectConfig) -> None:
    again = ProjectConfig.from_snapshot(project.as_snapshot())
    assert again == project
    assert again.shown.section("filtering") == project.shown.section("filtering")
    plain = project.with_interpolations(Interpolations())
    assert plain.as_snapshot() == plain.model_dump(mode="json")
    assert config_hash(plain) == config_hash(project)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("${oc.decode:${oc.env:DM_TEST_LIST}}", "${oc.decode:${oc.env:DM_TEST_LIST}}"),
        ("${oc.env:DM_TEST_MISSING,${oc.env:DM_TEST_LIST}}", "${oc.env:DM_TEST_MISSING,${oc.env:DM_TEST_LIST}}"),
        ("${oc.env:DM_TEST_LIST,x}", "${oc.env:DM_TEST_LIST}"),
        ("${a.${oc.env:DM_TEST_KEY}}", "${a.${oc.env:DM_TEST_KEY}}"),
        ("${other}", "<${oc.env:DM_TEST_LIST}>"),
    ],
)
def test_find_interpolations__of_other_kinds(monkeypatch: pytest.MonkeyPatch, written: str, shown: str) -> None:
    monkeypatch.setenv("DM_TEST_LIST", "[secret word]")
    monkeypatch.setenv("DM_TEST_KEY", "b")
    unresolved = {"description": written, "other": "<${oc.env:DM_TEST_LIST}>", "a": {"b": "x"}}
    found = find_interpolations(unresolved, {"description": "resolved", "other": "<[secret word]>", "a": {"b": "x"}})
    assert dict(found.settings)[("description",)] == shown
    assert found.values == (("[secret word]", "${oc.env:DM_TEST_LIST}"),)
