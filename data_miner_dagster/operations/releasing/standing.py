"""List and compare the releases of a project, and find a release by its version."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.json_records import from_json
from data_miner_dagster.export.differences import ReleaseDifference, compare_releases
from data_miner_dagster.export.manifest import (
    damaged_files,
    read_manifest,
)
from data_miner_dagster.export.parquet import extra_columns_of
from data_miner_dagster.export.records import ReleaseHeader
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.split_memory import release_versions
from data_miner_dagster.stages.releasing import version_number

REWRITE_REMEDY: Final = (
    "restore the release from a backup, or, if the project has not changed since the release was built, run "
    "`data-miner run --config FILE --force` to write it again"
)
"""The remedy for a damaged release. A build writes a release again only if the project's state is still the same."""


@dataclass(frozen=True, slots=True)
class ReleaseSummary:
    """One release in a list.

    `folder` is None if the release is not on disk. `created_at` is None if the catalog does not contain the release.
    `problems` contains a damaged manifest, and the result of checking the files if they were checked. `changes` is
    empty for the first release, and if the release is not on disk or its manifest is damaged.
    """

    version: str
    num_videos: int | None  # videos with an image, or None if the files no longer exist or cannot be read
    num_images: int
    num_boxes: int
    created_at: datetime | None
    withdrawn_reason: str | None
    folder: Path | None
    problems: tuple[str, ...]
    changes: str
    cost: Mapping[str, Any] | None
    """The cost of the project up to this release (`Cost.as_json`). It is None if it was not measured or if the catalog
    does not contain the release."""

    @property
    def state(self) -> str:
        """The state of the release in one phrase."""
        if self.withdrawn_reason:
            return f"withdrawn: {self.withdrawn_reason}"
        if self.folder is None:
            return "files are missing"
        return f"damaged: {self.problems[0]}" if self.problems else "whole"

    def as_json(self) -> dict[str, object]:
        """Return the summary as a JSON-compatible dict."""
        return {
            "version": self.version,
            "videos": self.num_videos,
            "images": self.num_images,
            "boxes": self.num_boxes,
            "created_at": self.created_at.isoformat() if self.created_at else None,
            "withdrawn_reason": self.withdrawn_reason,
            "folder": str(self.folder) if self.folder else None,
            "problems": list(self.problems),
            "changes": self.changes,
            "cost": self.cost,
        }


def list_releases(platform: Platform, project: str, *, check: bool = False) -> list[ReleaseSummary]:
    """Return all releases of a project, on disk or in the catalog, oldest first.

    Args:
        platform: the platform of one root.
        project: the name of the project, which may have been deleted.
        check: compare every file with its recorded sha256, and report the differences.

    Raises:
        ConfigError: neither the project nor a release of it exists.
    """
    rows = {row.version: row for row in find_releases(platform.database, project)}
    on_disk = release_versions(platform, project)
    if not rows and not on_disk:
        platform.project_config(project)  # raises an error with a remedy if the name is unknown
    summaries = []
    for version in sorted({*rows, *on_disk}, key=version_number):
        row, folder = rows.get(version), platform.layout.release_folder(project, version)
        manifest, problems = _manifest_or_problem(folder)
        counts = manifest or {
            "num_videos": None,
            "num_images": row.num_images if row else 0,
            "num_boxes": row.num_boxes if row else 0,
            "changes": None,
        }
        changes = counts["changes"]
        summaries.append(
            ReleaseSummary(
                version=version,
                num_videos=counts["num_videos"],
                num_images=counts["num_images"],
                num_boxes=counts["num_boxes"],
                created_at=row.created_at if row else None,
                withdrawn_reason=row.withdrawn_reason if row else None,
                folder=folder if manifest or problems else None,
                problems=tuple(damaged_files(folder)) if check and manifest else problems,
                changes=from_json(ReleaseDifference, changes).as_line if changes else "",
                cost=row.cost if row else None,
            )
        )
    return summaries


def _manifest_or_problem(folder: Path) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    try:
        return read_manifest(folder), ()
    except (DataMinerError, OSError) as error:  # of this release alone
        return None, (str(error),)


def release_header(release: Path) -> ReleaseHeader:
    """Return the header of the release in a folder, with its name, classes, splits and extra columns.

    Raises:
        DataMinerError: the folder does not contain a complete release.
    """
    manifest = read_manifest(release)
    if manifest is None:
        raise DataMinerError(
            f"{release} is not a complete release, since it has no release.json; restore the release from a backup"
        )
    return ReleaseHeader(
        project=manifest["project"],
        version=manifest["version"],
        description=manifest["description"],
        class_names=tuple(manifest["classes"]),
        splits=tuple(manifest["splits"]["shares"]),
        extra_columns=extra_columns_of(release),
    )


def existing_version(platform: Platform, project: str, version: str | None) -> str:
    """Resolve the version of a release, and check that the release is on disk.

    Args:
        platform: the platform of one root.
        project: the name of the project, which may have been deleted.
        version: the wanted version. If it is None, the current release is used, or the latest one if none is current;
            a withdrawn release is used only if there is no other.

    Raises:
        ConfigError: neither the project nor a release of it exists, or the wanted release is not on disk.
    """
    row = find_project(platform.database, project)
    known = release_versions(platform, project)
    if row is None and not known:
        platform.project_config(project)  # raises an error with a remedy if the name is unknown
    withdrawn = {release.version for release in find_releases(platform.database, project) if release.withdrawn_reason}
    usable = [name for name in known if name not in withdrawn] or known
    current = row.released_version if row is not None and row.released_version in usable else None
    wanted = version or current or (usable[-1] if usable else None)
    if wanted is None:
        raise ConfigError(f"project {project!r} has no release yet; build one with `data-miner run --config FILE`")
    if wanted not in known:
        raise ConfigError(
            f"project {project!r} has no release {wanted!r} on disk; "
            + (f"use one of {', '.join(known)}" if known else "build one with `data-miner run --config FILE`")
        )
    return wanted


def difference_between(platform: Platform, project: str, before: str, after: str) -> ReleaseDifference:
    """Return the differences between two releases of a project that are on disk.

    Raises:
        ConfigError: the project does not exist, or one of the releases is not on disk.
        DataMinerError: one of the releases is damaged.
    """
    folders = []
    for version in (before, after):
        folder = platform.layout.release_folder(project, existing_version(platform, project, version))
        content = read_manifest(folder)
        if content is None:
            raise DataMinerError(
                f"{folder} is not a complete release, since it has no release.json; restore the release from a backup"
            )
        folders.append((folder, content))
    (old, old_content), (new, new_content) = folders
    return compare_releases(old, old_content, new, new_content)
