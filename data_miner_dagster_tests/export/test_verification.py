"""Tests that the read-back finds a planted fault of each kind, in every format of releases and exports."""

import importlib
import importlib.util
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.export import coco
from data_miner_dagster.export.codec import Destination, Expected
from data_miner_dagster.export.formats import EXPORT_FORMATS, FORMATS, RELEASE_FORMATS, Format
from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage
from data_miner_dagster.export.verification import export_problems, release_problems
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster_tests.export.faults.judged import IN_JUDGED_EXPORTS, IN_JUDGED_RELEASES
from data_miner_dagster_tests.export.faults.pictures import PICTURES
from data_miner_dagster_tests.export.faults.planting import Fault
from data_miner_dagster_tests.support.releases import (
    HEADER,
    IMAGES,
    JUDGED_HEADER,
    JUDGED_IMAGES,
    OF_TRACKS,
    tally_of,
    write_format,
    write_pictures,
    write_sample_videos,
)


def module_of(format: Format) -> str:
    return format.name.replace("-", "_")


def faults_of(format: Format, where: str) -> dict[str, Fault]:
    """Return the faults of a format, or {} if it has no module of faults, which another test reports."""
    name = f"data_miner_dagster_tests.export.faults.{module_of(format)}"
    if importlib.util.find_spec(name) is None:
        return {}
    faults: dict[str, Fault] = getattr(importlib.import_module(name), where, {})
    return faults


IN_RELEASES = {"pictures": PICTURES} | {format.name: faults_of(format, "IN_RELEASES") for format in RELEASE_FORMATS}
IN_EXPORTS = {name: faults_of(format, "IN_EXPORTS") for name, format in EXPORT_FORMATS.items()}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a release and, next to it, an export in every format."""
    return write_all(tmp_path_factory.mktemp("sound"), IMAGES, HEADER)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like `sound`, whose images have verdicts, regions to ignore and tracks."""
    return write_all(tmp_path_factory.mktemp("judged"), JUDGED_IMAGES, JUDGED_HEADER)


def write_all(base: Path, images: Sequence[ReleaseImage], header: ReleaseHeader) -> Path:
    release = base / "release"
    write_pictures(release)
    with StoredPictures(ExtractionConfig()) as pictures:
        for format in RELEASE_FORMATS:
            write_format(format, Destination(release, header, release, pictures), images)
        write_sample_videos(release, images, header)
        for name, format in EXPORT_FORMATS.items():
            if name in OF_TRACKS and not header.extra_columns:
                continue
            (base / name).mkdir()
            if format.has_images_beside:
                write_pictures(base / name)
            destination = Destination(base / name, header, release, pictures)
            write_format(format, destination, images)
            if format.codec.complete_export is not None:
                format.codec.complete_export(destination, tally_of(images, header))
    return base


def exported(
    folder: Path,
    format: str,
    release: Path,
    images: Sequence[ReleaseImage] = IMAGES,
    header: ReleaseHeader = HEADER,
) -> list[str]:
    expected = Expected(header, tally_of(images, header), lambda: read_images(release), release=release)
    return export_problems(EXPORT_FORMATS[format], folder, expected)


@pytest.mark.parametrize("format", FORMATS, ids=[format.name for format in FORMATS])
def test_formats__each_has_planted_faults(format: Format) -> None:
    where = f"data_miner_dagster_tests/export/faults/{module_of(format)}.py"
    assert not format.in_releases or IN_RELEASES[format.name], f"IN_RELEASES in {where}: what must its verifier find?"
    assert not format.in_exports or IN_EXPORTS[format.name], f"IN_EXPORTS in {where}: what must its verifier find?"


def test_release_problems__none(sound: Path) -> None:
    assert release_problems(sound / "release", HEADER, tally_of(IMAGES)) == []


@pytest.mark.parametrize("format", [name for name in EXPORT_FORMATS if name not in OF_TRACKS])
def test_export_problems__none(sound: Path, format: str) -> None:
    assert exported(sound / format, format, sound / "release") == []


@pytest.mark.parametrize(
    ("format", "fault"), [(format, fault) for format, faults in IN_RELEASES.items() for fault in faults]
)
def test_release_problems__a_planted_fault(sound: Path, tmp_path: Path, format: str, fault: str) -> None:
    plant, expected = IN_RELEASES[format][fault]
    shutil.copytree(sound / "release", tmp_path / "release")
    plant(tmp_path / "release")
    problems = release_problems(tmp_path / "release", HEADER, tally_of(IMAGES))
    assert any(re.search(expected, problem) for problem in problems), problems


@pytest.mark.parametrize("fault", [None, *IN_RELEASES["coco"]])
def test_coco_problems__a_large_file_is_read_as_a_stream(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str | None
) -> None:
    monkeypatch.setattr(coco, "MAX_COCO_BYTES", 0)
    monkeypatch.setattr(coco, "read_coco", None)
    shutil.copytree(sound / "coco" / "annotations", tmp_path / "annotations")
    plant, expected = IN_RELEASES["coco"][fault] if fault else (lambda _: None, "")
    plant(tmp_path)
    whole = Expected(HEADER, tally_of(IMAGES), lambda: iter(IMAGES))
    problems = export_problems(replace(EXPORT_FORMATS["coco"], has_images_beside=False), tmp_path, whole)
    assert any(re.search(expected, problem) for problem in problems) if fault else problems == [], problems


@pytest.mark.parametrize(
    ("format", "fault"), [(format, fault) for format, faults in IN_EXPORTS.items() for fault in faults]
)
def test_export_problems__a_planted_fault(
    request: pytest.FixtureRequest, tmp_path: Path, format: str, fault: str
) -> None:
    plant, expected = IN_EXPORTS[format][fault]
    name, images, header = (
        ("judged", JUDGED_IMAGES, JUDGED_HEADER) if format in OF_TRACKS else ("sound", IMAGES, HEADER)
    )
    base: Path = request.getfixturevalue(name)
    shutil.copytree(base / format, tmp_path / format)
    plant(tmp_path / format)
    problems = exported(tmp_path / format, format, base / "release", images, header)
    assert any(re.search(expected, problem) for problem in problems), problems


def test_judged_images__read_back_in_every_format(judged: Path) -> None:
    assert release_problems(judged / "release", JUDGED_HEADER, tally_of(JUDGED_IMAGES)) == []
    found = {
        name: exported(judged / name, name, judged / "release", JUDGED_IMAGES, JUDGED_HEADER) for name in EXPORT_FORMATS
    }
    assert found == {name: [] for name in EXPORT_FORMATS}


@pytest.mark.parametrize("fault", IN_JUDGED_RELEASES)
def test_judged_images__a_planted_fault_in_a_release(judged: Path, tmp_path: Path, fault: str) -> None:
    plant, expected = IN_JUDGED_RELEASES[fault]
    shutil.copytree(judged / "release", tmp_path / "release")
    plant(tmp_path / "release")
    problems = release_problems(tmp_path / "release", JUDGED_HEADER, tally_of(JUDGED_IMAGES))
    assert any(re.search(expected, problem) for problem in problems), problems


@pytest.mark.parametrize(("format", "fault"), [(name, fault) for name, of in IN_JUDGED_EXPORTS.items() for fault in of])
def test_judged_images__a_planted_fault_in_an_export(judged: Path, tmp_path: Path, format: str, fault: str) -> None:
    plant, expected = IN_JUDGED_EXPORTS[format][fault]
    shutil.copytree(judged / format, tmp_path / format)
    plant(tmp_path / format)
    problems = exported(tmp_path / format, format, judged / "release", JUDGED_IMAGES, JUDGED_HEADER)
    assert any(re.search(expected, problem) for problem in problems), problems


ODD_NAMES = (
    'Füße & "x"/<y>',
    "no",
    "null",
    "reviewed",
    "background",
    "a/b\\c",
    "../..",
    "con",
    "two  blanks'",
    "日本 語",
    "{{label}}",
    "100% a:b#c, d",
    "x" * 64,
)
"""Class names with unusual letters, spaces and slashes, and words that mean something to YAML, a tool or a system."""
ON_THE_BORDER = ((0.0, 0.0, 64.0, 48.0), (63.0, 47.0, 64.0, 48.0), (0.0, 0.0, 1.0, 1.0), (0.0, 10.125, 64.0, 11.5))


@pytest.mark.parametrize("names", [ODD_NAMES, ODD_NAMES[:1]], ids=["odd names", "one class"])
def test_odd_releases__read_back_in_every_format(tmp_path: Path, names: tuple[str, ...]) -> None:
    header = replace(JUDGED_HEADER, class_names=names)
    plain = replace(IMAGES[0].boxes[0], recovered=False)
    named = tuple(
        replace(plain, class_index=index, class_name=name, track_id=index + 1) for index, name in enumerate(names)
    )
    border = tuple(replace(plain, class_name=names[0], box_xyxy=corners) for corners in ON_THE_BORDER)
    images = (
        replace(IMAGES[0], boxes=named),
        replace(IMAGES[1], boxes=()),
        replace(IMAGES[2], boxes=border),
        replace(IMAGES[3], boxes=()),
    )
    write_all(tmp_path, images, header)
    tally = tally_of(images, header)
    assert release_problems(tmp_path / "release", header, tally) == []
    found = {name: exported(tmp_path / name, name, tmp_path / "release", images, header) for name in EXPORT_FORMATS}
    assert found == {name: [] for name in EXPORT_FORMATS}
    # no class name puts a file outside its folder
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["release", *EXPORT_FORMATS])


def test_odd_releases__without_any_box(tmp_path: Path) -> None:
    images = tuple(replace(image, boxes=()) for image in IMAGES)
    write_all(tmp_path, images, JUDGED_HEADER)
    found = {
        name: exported(tmp_path / name, name, tmp_path / "release", images, JUDGED_HEADER) for name in EXPORT_FORMATS
    }
    assert found == {name: [] for name in EXPORT_FORMATS}
