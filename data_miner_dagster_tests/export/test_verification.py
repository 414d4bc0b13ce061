"""A planted fault of each kind makes the read-back fail, in every format of releases and exports."""

import importlib
import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.export.codec import Destination, Expected
from data_miner_dagster.export.formats import EXPORT_FORMATS, FORMATS, RELEASE_FORMATS, Format
from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.export.verification import export_problems, release_problems
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster_tests.export.faults.pictures import PICTURES
from data_miner_dagster_tests.export.faults.planting import Fault
from data_miner_dagster_tests.support.releases import (
    HEADER,
    IMAGES,
    tally_of,
    write_format,
    write_pictures,
    write_sample_videos,
)


def faults_of(format: Format, where: str) -> dict[str, Fault]:
    """Return the faults of a format, none where it has no module of them: a test of its own says so."""
    name = f"data_miner_dagster_tests.export.faults.{format.name}"
    if importlib.util.find_spec(name) is None:
        return {}
    faults: dict[str, Fault] = getattr(importlib.import_module(name), where, {})
    return faults


IN_RELEASES = {"pictures": PICTURES} | {format.name: faults_of(format, "IN_RELEASES") for format in RELEASE_FORMATS}
IN_EXPORTS = {name: faults_of(format, "IN_EXPORTS") for name, format in EXPORT_FORMATS.items()}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release, and beside it every export of it, by format."""
    base = tmp_path_factory.mktemp("sound")
    release = base / "release"
    write_pictures(release)
    with StoredPictures(ExtractionConfig()) as pictures:
        for format in RELEASE_FORMATS:
            write_format(format, Destination(release, HEADER, release, pictures))
        write_sample_videos(release)
        for name, format in EXPORT_FORMATS.items():
            (base / name).mkdir()
            if format.has_images_beside:
                write_pictures(base / name)
            destination = Destination(base / name, HEADER, release, pictures)
            write_format(format, destination)
            if format.codec.complete_export is not None:
                format.codec.complete_export(destination, tally_of(IMAGES))
    return base


def exported(folder: Path, format: str, release: Path) -> list[str]:
    expected = Expected(HEADER, tally_of(IMAGES), lambda: read_images(release))
    return export_problems(EXPORT_FORMATS[format], folder, expected)


@pytest.mark.parametrize("format", FORMATS, ids=[format.name for format in FORMATS])
def test_formats__each_has_planted_faults(format: Format) -> None:
    where = f"data_miner_dagster_tests/export/faults/{format.name}.py"
    assert not format.in_releases or IN_RELEASES[format.name], f"IN_RELEASES in {where}: what must its verifier find?"
    assert not format.in_exports or IN_EXPORTS[format.name], f"IN_EXPORTS in {where}: what must its verifier find?"


def test_release_problems__none(sound: Path) -> None:
    assert release_problems(sound / "release", HEADER, tally_of(IMAGES)) == []


@pytest.mark.parametrize("format", EXPORT_FORMATS)
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


@pytest.mark.parametrize(
    ("format", "fault"), [(format, fault) for format, faults in IN_EXPORTS.items() for fault in faults]
)
def test_export_problems__a_planted_fault(sound: Path, tmp_path: Path, format: str, fault: str) -> None:
    plant, expected = IN_EXPORTS[format][fault]
    shutil.copytree(sound / format, tmp_path / format)
    plant(tmp_path / format)
    problems = exported(tmp_path / format, format, sound / "release")
    assert any(re.search(expected, problem) for problem in problems), problems
