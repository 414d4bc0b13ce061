"""Count the items that a removal would remove, and those that would stay for other projects. Nothing is changed."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_miner_dagster.catalog.members import find_members, projects_wanting
from data_miner_dagster.catalog.verdicts import count_verdicts_to_delete
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.upkeep.removal import (
    project_folders,
    project_releases,
    release_files,
    video_files,
)


@dataclass(frozen=True, slots=True)
class VideosCount:
    """The numbers of videos, bytes and projects that removing some videos would affect."""

    num_videos: int
    num_bytes: int
    num_unknown: int  # keys that are not in the catalog
    num_wanted_by: dict[str, int]  # how many of the videos each project wants
    num_wanted: int  # how many of the videos at least one project wants

    def __str__(self) -> str:
        """Return the counts as one human-readable line."""
        wanted = ", ".join(f"{name} ({count})" for name, count in sorted(self.num_wanted_by.items()))
        missing = f"{counted(self.num_unknown, 'key')} {'is' if self.num_unknown == 1 else 'are'} not in the catalog"
        unknown = f"; {missing}" if self.num_unknown else ""
        their = "its" if self.num_videos == 1 else "their"
        return (
            f"{counted(self.num_videos, 'video')} with {their} files, {size_text(self.num_bytes)}"
            f"{f'; wanted by {wanted}' if wanted else ''}{unknown}"
        )


@dataclass(frozen=True, slots=True)
class ProjectCount:
    """The numbers of items that removing a project would delete, and of videos that would stay."""

    num_videos: int  # the project's videos, which stay
    num_shared: int  # those of its videos that other projects want too
    num_files: int
    num_bytes: int
    num_releases: int  # releases removed with it
    num_verdicts: int = 0  # people's verdicts removed with it

    def __str__(self) -> str:
        """Return the counts as one human-readable line."""
        verdicts = f", {counted(self.num_verdicts, 'verdict')} by people" if self.num_verdicts else ""
        stay = "video stays" if self.num_videos == 1 else "videos stay"
        return (
            f"{counted(self.num_files, 'file')} of its own ({size_text(self.num_bytes)}), "
            f"{counted(self.num_releases, 'release')}{verdicts}; "
            f"its {self.num_videos:,} {stay} ({self.num_shared:,} wanted by other projects)"
        )


def count_videos_to_remove(platform: Platform, video_keys: Collection[str]) -> VideosCount:
    """Return the counts for removing videos with `remove_videos`, including videos that projects want."""
    keys = sorted(set(video_keys))
    known = [row.key for row in find_videos(platform.database, keys)]
    wanting = projects_wanting(platform.database, known)
    num_bytes = sum(_size(path)[1] for key in known for path in video_files(platform.layout, key))
    by_project = Counter(name for names in wanting.values() for name in names)
    num_wanted = sum(1 for names in wanting.values() if names)
    return VideosCount(len(known), num_bytes, len(keys) - len(known), dict(by_project), num_wanted)


def count_project(platform: Platform, name: str, *, with_files: bool, with_releases: bool) -> ProjectCount:
    """Return the counts for `remove_project` with the same options.

    Raises:
        ConfigError: the project does not exist, or its stored settings do not fit this version.
    """
    platform.project_config(name)
    folders = project_folders(platform.layout, name, with_files=with_files, with_releases=with_releases)
    sizes = [_size(folder) for folder in folders if folder.exists()]
    members = find_members(platform.database, name)
    wanted = [row.video_key for row in members if row.status is not ProjectVideoStatus.REJECTED]
    wanting = projects_wanting(platform.database, wanted)
    return ProjectCount(
        num_videos=len(wanted),
        num_shared=sum(1 for key in wanted if set(wanting.get(key, ())) - {name}),
        num_files=sum(num_files for num_files, _ in sizes),
        num_bytes=sum(num_bytes for _, num_bytes in sizes),
        num_releases=len(project_releases(platform.layout, name)) if with_releases else 0,
        num_verdicts=count_verdicts_to_delete(platform.database, name) if with_files else 0,
    )


def count_release(platform: Platform, project: str, version: str) -> tuple[int, int]:
    """Return the number of files that `remove_release` would remove, and their size in bytes.

    Raises:
        ConfigError: the project has no such release, on disk or in the catalog.
    """
    sizes = [_size(path) for path in release_files(platform, project, version)]
    return sum(num_files for num_files, _ in sizes), sum(num_bytes for _, num_bytes in sizes)


def _size(path: Path) -> tuple[int, int]:
    """Return the number of files in a folder (1 for a single file), and their size in bytes."""
    files: Sequence[Path] = [entry for entry in path.rglob("*") if entry.is_file()] if path.is_dir() else [path]
    return len(files), sum(file.stat().st_size for file in files)
