"""Lines that announce what a root's next builds will redo or download again, for `run`, `up`, `doctor` and others."""

from typing import TYPE_CHECKING

from data_miner_dagster.cli.output import echo
from data_miner_dagster.domain.versions import BUILD_VERSIONS, EXTRACTION_VERSION

if TYPE_CHECKING:
    from collections.abc import Collection

    from data_miner_dagster.operations.platform import Platform


def project_lines(platform: "Platform", project: str | None = None) -> list[str]:
    """Return one line for each project whose next build redoes work that another version of this package did.

    With `project`, only that project is considered. A project that was never built has nothing to redo.
    """
    from data_miner_dagster.catalog.projects import find_projects
    from data_miner_dagster.operations.split_memory import release_versions
    from data_miner_dagster.operations.stage_versions import read_stage_versions
    from data_miner_dagster.stages.upgrading import describe_upgrade

    names = [row.name for row in find_projects(platform.database) if project in (None, row.name)]
    lines = [
        describe_upgrade(name, read_stage_versions(platform, name), BUILD_VERSIONS, release_versions(platform, name))
        for name in names
        if platform.layout.detections_table(name).exists()
    ]
    return [line for line in lines if line is not None]


def frames_lines(platform: "Platform", project: str | None = None) -> list[str]:
    """Return a list with one line if videos have frames that an earlier version extracted, or an empty list.

    With `project`, only its videos are considered. The first call by this version for a root reads the version and
    settings of each video's frames.
    """
    from data_miner_dagster.operations.upkeep.auditing import count_earlier_frames, settle_bases
    from data_miner_dagster.stages.upgrading import describe_earlier_frames

    settle_bases(platform)
    line = describe_earlier_frames(count_earlier_frames(platform, project), EXTRACTION_VERSION)
    return [] if line is None else [line]


def price_lines(
    platform: "Platform",
    *,
    project: str | None = None,
    video_keys: "Collection[str] | None" = None,
    with_current: bool = False,
) -> list[str]:
    """Return a list with one line about the videos that must be downloaded again to recreate their frames.

    The line gives the number and size of these videos. The list is empty if there are none. With `with_current`, videos
    whose frames are current count too. `project` and `video_keys` limit the videos to consider, unless they are None.
    """
    from data_miner_dagster.operations.extraction.extract_frames import refetch_price

    price = refetch_price(platform, video_keys=video_keys, project=project, with_current=with_current)
    return [str(price)] if price.num_videos else []


def lines_before_work(platform: "Platform", project: str | None = None) -> list[str]:
    """Return lines to show before a build: what will be redone, and what will be downloaded again.

    With `project`, only that project is considered. Frames from an earlier version are mentioned only if a project's
    build will redo work. Without a catalog, the list is empty.
    """
    if not platform.has_catalog:
        return []
    lines = project_lines(platform, project)
    return [*lines, *(frames_lines(platform, project) if lines else []), *price_lines(platform, project=project)]


def tell_upgrade(platform: "Platform") -> None:
    """Open the catalog if it exists. If opening migrates it, print to stderr what the next builds will redo."""
    if platform.has_catalog and platform.database and platform.migration is not None:
        for line in [*project_lines(platform), *frames_lines(platform)]:
            echo(f"note: {line}", err=True)
