"""Tests of a release's manifest and checksums: every fault in a release is reported or raised as one line."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.export.manifest import (
    ChecksumWriter,
    damaged_files,
    is_release,
    read_checksums,
    read_manifest,
    write_manifest,
)

CONTENT: dict[str, Any] = {
    "project": "cyclists",
    "version": "v001",
    "description": "",
    "fingerprint": "f",
    "num_videos": 1,
    "num_images": 1,
    "num_images_without_boxes": 0,
    "num_boxes": 1,
    "images_by_split": {"train": 1},
    "boxes_by_class": {"person": 1, "bicycle": 0},
    "classes": ["person", "bicycle"],
    "splits": {"shares": {"train": 1.0}, "by_video": {"files-a": "train"}},
    "thresholds": {"person": 0.3, "bicycle": 0.3},
    "models": [],
    "funnel": [],
    "prompts": {"positive": []},
    "duplicates": {"threshold": 0.9},
}


SHA256 = hashlib.sha256(b"an image").hexdigest()
IMAGE, LABELS = "images/train/a.jpg", "labels/train/a.txt"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Return the folder of a release with one image and two other files."""
    folder = tmp_path / "v001"
    for name, content in ((IMAGE, b"an image"), ("images/train/metadata.parquet", b"rows"), (LABELS, b"0 0 0 1 1")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    checksums = ChecksumWriter(folder)
    checksums.add(IMAGE, SHA256)
    checksums.add_all_but_images()
    checksums.close()
    write_manifest(folder, CONTENT, num_files=checksums.num_files)
    return folder


def in_file(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def each(*plants: Callable[[Path], object]) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        for one in plants:
            one(folder)

    return plant


def gone(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def in_manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def plant(folder: Path) -> None:
        content = json.loads((folder / "release.json").read_text())
        change(content)
        (folder / "release.json").write_text(json.dumps(content))

    return plant


FAULTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a missing image": (gone(IMAGE), [f"{IMAGE}: missing"]),
    "a folder in place of a file": (
        each(gone(LABELS), lambda folder: (folder / LABELS).mkdir()),
        [f"{LABELS}: missing"],
    ),
    "one bit": (in_file(IMAGE, lambda content: b"b" + content[1:]), [f"{IMAGE}: its sha256 has changed"]),
    "a truncated file": (in_file(LABELS, lambda content: content[:-1]), [f"{LABELS}: its sha256 has changed"]),
    "two faults": (
        each(gone(IMAGE), in_file(LABELS, lambda _: b"")),
        [f"{IMAGE}: missing", f"{LABELS}: its sha256 has changed"],
    ),
    "a line less in the list": (
        in_file("SHA256SUMS", lambda content: content[content.index(b"\n") + 1 :]),
        ["SHA256SUMS: its sha256 has changed"],
    ),
    "no list": (gone("SHA256SUMS"), ["SHA256SUMS: missing"]),
    "no manifest": (gone("release.json"), ["release.json: missing"]),
    "another list in the manifest": (
        in_manifest(lambda of: of["checksums"].update(sha256="0" * 64)),
        ["SHA256SUMS: its sha256 has changed"],
    ),
    "a file of nobody": (lambda folder: (folder / "labels.cache").write_bytes(b"left by a training run"), []),
}
MANIFESTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (in_file("release.json", lambda _: b""), "Expecting value"),
    "truncated": (in_file("release.json", lambda content: content[:-20]), "release.json is damaged"),
    "not UTF-8": (in_file("release.json", lambda _: b'{"project": "\xff"}'), "utf-8"),
    "a list": (in_file("release.json", lambda _: b"[]"), "list indices"),
    "nested without end": (in_file("release.json", lambda _: b"[" * 100_000), "recursion"),
    "no classes": (in_manifest(lambda of: of.pop("classes")), "it has no 'classes'"),
    "a number that is text": (
        in_manifest(lambda of: of.update(num_images="1")),
        "the value of `num_images` is not of type int",
    ),
    "no shares": (in_manifest(lambda of: of["splits"].pop("shares")), "it has no 'shares'"),
    "a class without its threshold": (in_manifest(lambda of: of["thresholds"].pop("bicycle")), "it has no 'bicycle'"),
    "a class without its number": (in_manifest(lambda of: of["boxes_by_class"].pop("person")), "it has no 'person'"),
}


def test_damaged_files__none(release: Path) -> None:
    assert damaged_files(release) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_files__a_planted_fault(release: Path, fault: str) -> None:
    plant, expected = FAULTS[fault]
    plant(release)
    assert damaged_files(release) == expected


@pytest.mark.parametrize("fault", MANIFESTS)
def test_read_manifest__a_damaged_one_is_one_line_with_what_to_do(release: Path, fault: str) -> None:
    plant, expected = MANIFESTS[fault]
    plant(release)
    assert is_release(release)
    for read in (read_manifest, damaged_files):
        with pytest.raises(DataMinerError, match=r"release\.json is damaged \(.*\); restore the file from") as raised:
            read(release)
        assert expected in str(raised.value)
        assert "\n" not in str(raised.value)


def test_read_manifest__what_was_written(release: Path, tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "nowhere") is None
    assert not is_release(tmp_path / "nowhere")
    sums = hashlib.sha256((release / "SHA256SUMS").read_bytes()).hexdigest()
    assert read_manifest(release) == {
        "format": 1,
        **CONTENT,
        "checksums": {"file": "SHA256SUMS", "sha256": sums, "num_files": 3},
    }


def test_read_checksums__of_images_as_told_and_of_everything_else_as_found(release: Path) -> None:
    assert dict(read_checksums(release)) == {
        IMAGE: SHA256,
        "images/train/metadata.parquet": hashlib.sha256(b"rows").hexdigest(),
        LABELS: hashlib.sha256(b"0 0 0 1 1").hexdigest(),
    }


def test_checksum_writer__the_tool_of_that_name_reads_it(release: Path) -> None:
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("there is no sha256sum")
    for damage, status in ((None, 0), (b"another", 1)):
        if damage is not None:
            (release / LABELS).write_bytes(damage)
        done = subprocess.run([program, "-c", "--quiet", "SHA256SUMS"], cwd=release, check=False, capture_output=True)
        assert done.returncode == status
