"""Test that the library that draws boxes is the version that was reviewed."""

import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.web.review.vendoring import VENDOR_FOLDER, read_manifest, unpack


def test_vendored__files_are_those_of_the_manifest() -> None:
    vendored = read_manifest()
    assert {"LICENSE.txt", "vendored.json", *vendored.files} == {file.name for file in VENDOR_FOLDER.iterdir()}
    for name, file in vendored.files.items():
        assert hashlib.sha256((VENDOR_FOLDER / name).read_bytes()).hexdigest() == file["sha256"], name
    licence = (VENDOR_FOLDER / "LICENSE.txt").read_text(encoding="utf-8")
    assert licence.startswith(f"Annotorious {vendored.version} ({vendored.package}")
    assert "BSD 3-Clause License" in licence


def test_unpack__takes_nothing_else(tmp_path: Path) -> None:
    vendored = read_manifest()
    archive = tmp_path / "annotorious.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        for name, file in vendored.files.items():
            packed.add(VENDOR_FOLDER / name, file["member"])
    with pytest.raises(DataMinerError, match=r"annotorious\.tgz is not the file that was reviewed"):
        unpack(vendored, archive)
    known = replace(vendored, archive_sha512=hashlib.sha512(archive.read_bytes()).hexdigest())
    assert unpack(known, archive).keys() == vendored.files.keys()
    renamed = {name: {**file, "member": "package/dist/new.js"} for name, file in vendored.files.items()}
    with pytest.raises(DataMinerError, match=r"annotorious\.tgz does not contain package/dist/new\.js; correct"):
        unpack(replace(known, files=renamed), archive)
    changed = {name: {**file, "sha256": "0" * 64} for name, file in vendored.files.items()}
    with pytest.raises(DataMinerError, match=r"annotorious\.js is not the file that was reviewed"):
        unpack(replace(known, files=changed), archive)
