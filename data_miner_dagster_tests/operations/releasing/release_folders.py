"""Read the folders of releases."""

from pathlib import Path

from data_miner_dagster.operations.platform import Platform


def release_folder(platform: Platform, version: str = "v001") -> Path:
    return platform.layout.release_folder("cyclists", version)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
