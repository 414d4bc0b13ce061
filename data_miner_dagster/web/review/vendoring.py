"""The program `python -m data_miner_dagster.web.review.vendoring`, which fetches and verifies the box-drawing library.

The files are in the repository and in the wheel, so reviewing does not need npm. To use another version, change
`version` and `archive_sha512` in the manifest (npm shows the latter as `dist.integrity`, in base64), run this module,
and review the difference.
"""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.domain.errors import DataMinerError

VENDOR_FOLDER: Final = Path(__file__).with_name("static") / "vendor"
_MANIFEST_NAME: Final = "vendored.json"


@dataclass(frozen=True, slots=True)
class Vendored:
    """The manifest: the package, the checksum of its archive, and the member name and sha256 of each file used."""

    package: str
    version: str
    archive_sha512: str
    files: Mapping[str, Mapping[str, str]]


def read_manifest() -> Vendored:
    """Return the manifest of the vendored files."""
    stored: dict[str, Any] = json.loads((VENDOR_FOLDER / _MANIFEST_NAME).read_text(encoding="utf-8"))
    return Vendored(stored["package"], stored["version"], stored["archive_sha512"], stored["files"])


def fetch(vendored: Vendored, folder: Path) -> None:
    """Download the package with npm, and write the files that the manifest names to `folder`.

    Raises:
        DataMinerError: npm is missing or fails, a checksum differs, or the archive lacks a file that the manifest
            names. No file in `folder` has been changed.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataMinerError(
            "npm is not installed; install it (it is needed only to fetch another version of the library)"
        )
    with tempfile.TemporaryDirectory() as scratch:
        name = f"{vendored.package}@{vendored.version}"
        packed = subprocess.run([npm, "pack", "--loglevel=error", name], cwd=scratch, capture_output=True, check=False)  # noqa: S603
        archives = list(Path(scratch).glob("*.tgz"))
        if packed.returncode != 0 or len(archives) != 1:
            reason = packed.stderr.decode(errors="replace").strip()[-300:] or f"exit status {packed.returncode}"
            raise DataMinerError(
                f"`npm pack {name}` failed ({reason}); check the network, and the package and version in "
                f"{_MANIFEST_NAME}"
            )
        contents = unpack(vendored, archives[0])
    for file_name, content in contents.items():
        (folder / file_name).write_bytes(content)


def unpack(vendored: Vendored, archive: Path) -> dict[str, bytes]:
    """Return the manifest's files from an archive, by their names in the manifest, after verifying all checksums.

    Raises:
        DataMinerError: a checksum differs from the manifest, or the archive lacks a file that the manifest names.
    """
    _check(archive.name, hashlib.sha512(archive.read_bytes()).hexdigest(), vendored.archive_sha512)
    contents = {}
    with tarfile.open(archive) as packed:
        for name, file in vendored.files.items():
            try:
                member = packed.extractfile(file["member"])
            except KeyError:
                raise DataMinerError(
                    f"{archive.name} does not contain {file['member']}; correct the name in {_MANIFEST_NAME}"
                ) from None
            assert member is not None  # a folder with that name would change the archive's checksum
            contents[name] = member.read()
            _check(name, hashlib.sha256(contents[name]).hexdigest(), file["sha256"])
    return contents


def _check(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise DataMinerError(
            f"{name} is not the file that was reviewed (its checksum is {found}, not {expected}); review the file, "
            f"and put its checksum into {_MANIFEST_NAME}"
        )


if __name__ == "__main__":
    fetch(read_manifest(), VENDOR_FOLDER)
