"""`release.json`: what a release is, what it was made from, and the sha256 of its every other file; written last."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.domain.fingerprints import sha256_of_file

MANIFEST_FILE: Final = "release.json"
FORMAT_VERSION: Final = 1


def write_manifest(folder: Path, content: Mapping[str, object], known: Mapping[str, Mapping[str, object]]) -> None:
    """Write the manifest over everything in `folder`.

    Args:
        folder: the release, otherwise complete.
        content: what the release is; the keys `format` and `files` are added.
        known: relative path to `{"sha256", "size_bytes"}` of files that were hashed when they were put there.
    """
    files: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        files[name] = known.get(name) or {"sha256": sha256_of_file(path), "size_bytes": path.stat().st_size}
    whole = {"format": FORMAT_VERSION, **content, "files": files}
    text = json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a release, None where there is no complete release."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def damaged_files(folder: Path) -> list[str]:
    """Return `path: what is wrong` for every file that is missing or differs from the manifest, by path.

    Files that the manifest does not name (a label cache that a training run left) are nobody's business.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return [f"{MANIFEST_FILE}: missing"]
    problems = []
    for name, recorded in sorted(manifest["files"].items()):
        path = folder / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif path.stat().st_size != recorded["size_bytes"]:
            problems.append(f"{name}: {path.stat().st_size} bytes, was {recorded['size_bytes']}")
        elif sha256_of_file(path) != recorded["sha256"]:
            problems.append(f"{name}: its sha256 has changed")
    return problems
