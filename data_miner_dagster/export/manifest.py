"""Write and read a release's manifest (`release.json`, written last) and the checksums of its files (`SHA256SUMS`).

`sha256sum -c SHA256SUMS` checks a release on machines where this package is not installed. Since `release.json`
contains the checksum of `SHA256SUMS`, it covers every file that `SHA256SUMS` lists.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.export.records import IMAGES_FOLDER

MANIFEST_FILE: Final = "release.json"
CHECKSUMS_FILE: Final = "SHA256SUMS"
WITHDRAWN_FILE: Final = "WITHDRAWN.txt"
"""The file that says which videos of a kept release were forgotten, when and why."""
NOT_FOLLOWED: Final = "not_followed"
"""The key for the list of videos whose objects could not be followed. It is absent if the list is empty."""
FORMAT_VERSION: Final = 1
_READ_BY_OTHERS: Final = {
    "project": str,
    "version": str,
    "fingerprint": str,
    "num_videos": int,
    "description": str,
    "num_images": int,
    "num_images_without_boxes": int,
    "num_boxes": int,
    "images_by_split": dict,
    "boxes_by_class": dict,
    "classes": list,
    "splits": dict,
    "thresholds": dict,
    "models": list,
    "funnel": list,
    "prompts": dict,
    "duplicates": dict,
    "checksums": dict,
}
"""The required keys of a manifest and their types."""
_INNER: Final = (
    ("splits", "shares"),
    ("splits", "by_video"),
    ("prompts", "positive"),
    ("duplicates", "threshold"),
    ("checksums", "file"),
    ("checksums", "sha256"),
    ("checksums", "num_files"),
)


class ChecksumWriter:
    """Writes `SHA256SUMS` line by line: images as they are added, and all other files at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines = (folder / CHECKSUMS_FILE).open("w", encoding="utf-8")
        self.num_files = 0

    def add(self, name: str, sha256: str) -> None:
        """Write one file's line. `name` is the file's path inside the release."""
        self._lines.write(f"{sha256}  {name}\n")
        self.num_files += 1

    def add_all_but_images(self) -> None:
        """Hash all existing files except images and `SHA256SUMS` itself, and write their lines in path order."""
        for name in _file_names(self._folder):
            if name != CHECKSUMS_FILE:
                self.add(name, sha256_of_file(self._folder / name))

    def close(self) -> None:
        """Finish the file."""
        self._lines.close()


def size_of_all_but_images(folder: Path) -> int:
    """Return the total size in bytes of a release's files except images and `SHA256SUMS`.

    Only labels and tables are counted if this is called before the card and the datasheet are written.
    """
    return sum((folder / name).stat().st_size for name in _file_names(folder) if name != CHECKSUMS_FILE)


def write_manifest(folder: Path, content: Mapping[str, object], *, num_files: int) -> None:
    """Write the manifest of a release whose `SHA256SUMS` is complete.

    Args:
        folder: the folder of the release, which is otherwise complete.
        content: the description of the release, to which `format` and `checksums` are added. The order of its keys is
            preserved, since the order of classes and splits is significant.
        num_files: the number of files in `SHA256SUMS`.
    """
    checksums = {"file": CHECKSUMS_FILE, "sha256": sha256_of_file(folder / CHECKSUMS_FILE), "num_files": num_files}
    whole = {"format": FORMAT_VERSION, **content, "checksums": checksums}
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def is_release(folder: Path) -> bool:
    """Return whether a folder contains a complete release."""
    return (folder / MANIFEST_FILE).is_file()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a release, or None if the folder contains no complete release.

    Raises:
        DataMinerError: the manifest is damaged.
        OSError: the manifest cannot be read.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for name, kind in _READ_BY_OTHERS.items():
            if not isinstance(content[name], kind):
                raise TypeError(f"the value of `{name}` is not of type {kind.__name__}")
        for name, inner in _INNER:
            _ = content[name][inner]
        for name in content["classes"]:
            _ = content["thresholds"][name], content["boxes_by_class"][name]
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise DataMinerError(
            f"{path} is damaged ({why[:120]}); restore the file from a backup or another copy of the release, or, "
            "if the release is in the root, move it elsewhere (if it was the current release, the next run builds a "
            "new version)"
        ) from error
    manifest: dict[str, Any] = content
    return manifest


def read_checksums(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (path inside the release, sha256) for every file that `SHA256SUMS` lists."""
    with (folder / CHECKSUMS_FILE).open(encoding="utf-8") as lines:
        for line in lines:
            sha256, _, name = line.rstrip("\n").partition("  ")
            yield name, sha256


def damaged_files(folder: Path) -> list[str]:
    """Return `path: problem` for every file that is missing or whose bytes have changed.

    If `release.json` or `SHA256SUMS` is missing, or `SHA256SUMS` has changed, only that problem is returned. Files not
    listed in `SHA256SUMS`, such as a label cache from a training run, are ignored.

    Raises:
        DataMinerError: `release.json` is damaged.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return [f"{MANIFEST_FILE}: missing"]
    checksums = manifest["checksums"]
    path = folder / checksums["file"]
    if not path.is_file():
        return [f"{checksums['file']}: missing"]
    if sha256_of_file(path) != checksums["sha256"]:
        return [f"{checksums['file']}: its sha256 has changed"]
    problems = []
    for name, sha256 in read_checksums(folder):
        if not (folder / name).is_file():
            problems.append(f"{name}: missing")
        elif sha256_of_file(folder / name) != sha256:
            problems.append(f"{name}: its sha256 has changed")
    return problems


def _file_names(folder: Path, prefix: str = "") -> Iterator[str]:
    """Yield the relative paths of all files except images below a folder. Paths are sorted within each folder."""
    names, folders = [], set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                folders.add(entry.name)
                names.append(entry.name)
            elif not _is_image(f"{prefix}{entry.name}"):
                names.append(entry.name)
    for name in sorted(names):
        if name in folders:
            yield from _file_names(folder / name, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}"


def _is_image(name: str) -> bool:
    return name.startswith(f"{IMAGES_FOLDER}/") and not name.endswith(".parquet")
