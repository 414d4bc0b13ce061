"""Check the files of a release against their recorded sha256. An asset check in Dagster reports the result."""

from dataclasses import dataclass
from typing import Final

from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.export.manifest import damaged_files, read_manifest
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.standing import REWRITE_REMEDY, existing_version

_RECORD_REMEDY: Final = (
    "run `data-miner run --config FILE --force`, which records it, or builds a new release if the project has changed"
)


@dataclass(frozen=True, slots=True)
class ReleaseCheck:
    """The result of `check_release`.

    `damage` describes the missing and changed files. If the manifest is missing, or the list of checksums is missing or
    has changed, the other files are not checked. `num_files` is 0 if the manifest is missing. `is_recorded` states
    whether the release is in the catalog. `withdrawn_reason` is None if the release was not withdrawn.
    """

    version: str
    num_files: int
    damage: tuple[str, ...]
    is_recorded: bool
    withdrawn_reason: str | None

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each damaged file, and another if the release is not in the catalog."""
        return self.damage if self.is_recorded else (*self.damage, "the release is not in the catalog")

    @property
    def holds(self) -> bool:
        """True if every file has the recorded sha256 and the release is in the catalog."""
        return not self.problems

    @property
    def description(self) -> str:
        """One line for the user about a release with problems: the first three, and the remedy."""
        if not self.damage:
            return f"release {self.version} is not in the catalog; {_RECORD_REMEDY}"
        more = f" and {len(self.problems) - 3} more" if len(self.problems) > 3 else ""
        problems = f"{', '.join(self.problems[:3])}{more}"
        return f"release {self.version} is damaged ({problems}); {REWRITE_REMEDY}"


def check_release(platform: Platform, project: str, version: str | None = None) -> ReleaseCheck:
    """Compare the sha256 of every file in a release with the recorded one, and look the release up in the catalog.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        version: the version of the release, or None for the current one.

    Raises:
        ConfigError: the project or release does not exist.
        DataMinerError: the manifest is damaged.
    """
    version = existing_version(platform, project, version)
    folder = platform.layout.release_folder(project, version)
    rows = {row.version: row for row in find_releases(platform.database, project)}
    manifest = read_manifest(folder)
    return ReleaseCheck(
        version,
        manifest["checksums"]["num_files"] if manifest else 0,
        tuple(damaged_files(folder)),
        version in rows,
        rows[version].withdrawn_reason if version in rows else None,
    )
