"""Check whether a release is complete. The asset check reports the result."""

from dataclasses import dataclass

from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.export.manifest import damaged_files, read_manifest
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.standing import existing_version


@dataclass(frozen=True, slots=True)
class ReleaseCheck:
    """The result of `check_release`. `problems` has a readable line for each missing or changed file."""

    version: str
    num_files: int
    problems: tuple[str, ...]
    withdrawn_reason: str | None

    @property
    def holds(self) -> bool:
        """True if every file in the manifest exists and has the recorded sha256."""
        return not self.problems

    @property
    def description(self) -> str:
        """One line for the user."""
        more = f" and {len(self.problems) - 3} more" if len(self.problems) > 3 else ""
        return f"release {self.version}: {', '.join(self.problems[:3])}{more}; `data-miner run --force` writes it again"


def check_release(platform: Platform, project: str, version: str | None = None) -> ReleaseCheck:
    """Compare every file of a release (by default the current one) with its manifest. Reads every byte.

    Raises:
        ConfigError: there is no such project or release.
    """
    version = existing_version(platform, project, version)
    folder = platform.layout.release_folder(project, version)
    rows = {row.version: row for row in find_releases(platform.database, project)}
    problems = damaged_files(folder)
    if version not in rows:
        problems.append("the catalog has no row for it: materialize `dataset` again, or run `data-miner doctor`")
    manifest = read_manifest(folder)
    return ReleaseCheck(
        version,
        manifest["checksums"]["num_files"] if manifest else 0,
        tuple(problems),
        rows[version].withdrawn_reason if version in rows else None,
    )
