"""Disk space under the root: the command `clean`, and lines about disk space in other commands."""

from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    DryRunOption,
    RootOption,
    YesOption,
    confirm,
    opened_existing,
)
from data_miner_dagster.cli.output import echo, print_table
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.sizes import size_text

if TYPE_CHECKING:
    from data_miner_dagster.operations.platform import Platform


def clean(
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="Remove only this kind of file: sources (the video files), frames or caches; may be repeated.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Free disk space by removing files that can be recreated or downloaded again.

    These are the video files whose frames have been extracted, and the frames and caches that are not needed.
    """
    from data_miner_dagster.config.problems import did_you_mean
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.operations.item_faults import attempt_alone
    from data_miner_dagster.operations.upkeep.cleaning import RemovableKind, find_removable

    platform = opened_existing(root, config)
    known = [known.value for known in RemovableKind]
    for name in kind or ():
        if name not in known:
            raise ConfigError(f"--kind {name!r} is not a kind{did_you_mean(name, known)}")
    found = find_removable(platform, [RemovableKind(name) for name in kind or known])
    for what, removable in found.items():
        echo(f"{what.value}: {len(removable)}, {size_text(sum(item.size_bytes for item in removable))}")
    if RemovableKind.SOURCES in found:
        echo("a removed video file is downloaded again if its frames must be recreated")
    if dry_run or not any(found.values()):
        return
    confirm(f"Remove these files from {platform.root}?", yes=yes)
    freed = 0
    for item in (item for removable in found.values() for item in removable):
        gained = attempt_alone("clean", item.name, item.remove)
        freed += gained if isinstance(gained, int) else 0
    echo(f"{size_text(freed)} freed")


def room_content(platform: "Platform") -> "list[dict[str, object]]":
    """Return rows with the disk usage of videos' files and of frames. If a quota is set, more rows follow.

    They have the disk usage of all other files, the total and the quota. Without a quota, videos' files and frames, the
    list is empty.
    """
    from data_miner_dagster.operations.upkeep.cleaning import room_overview

    overview = room_overview(platform)
    if overview.quota is None and not overview.sources + overview.frames:
        return []
    rows: list[dict[str, object]] = [
        {
            "what": "files of videos",
            "bytes": overview.sources,
            "removable_bytes": overview.removable_sources,
            "removable": overview.num_removable_sources,
        },
        {"what": "frames", "bytes": overview.frames, "removable_bytes": None, "removable": None},
    ]
    if overview.quota is None or overview.rest is None:
        return rows
    total = overview.sources + overview.frames + overview.rest
    return [
        *rows,
        {"what": "everything else", "bytes": overview.rest, "removable_bytes": None, "removable": None},
        {"what": "in all", "bytes": total, "removable_bytes": None, "removable": None},
        {"what": "quota", "bytes": overview.quota, "removable_bytes": None, "removable": None},
    ]


def print_room(content: "list[dict[str, object]]") -> None:
    """Print a table of disk usage, unless `content` is empty."""
    if not content:
        return
    echo("")
    rows = [
        [
            row["what"],
            size_text(int(str(row["bytes"]))),
            "" if row["removable"] is None else f"{size_text(int(str(row['removable_bytes'])))} ({row['removable']})",
        ]
        for row in content
    ]
    print_table(["disk space", "size", "could be removed"], rows, numbers=["size"])


def room_lines(platform: "Platform") -> list[str]:
    """Return a line about how much of the quota is used, and another if the files that must stay exceed the quota.

    Without a quota, the list is empty.
    """
    from data_miner_dagster.operations.upkeep.cleaning import room_overview

    if platform.config.room.quota is None:
        return []
    overview = room_overview(platform)
    total = overview.sources + overview.frames + (overview.rest or 0)
    lines = [
        f"{size_text(total)} of the quota of {size_text(platform.config.room.quota)} is used; the files of "
        f"{counted(overview.num_removable_sources, 'video')} ({size_text(overview.removable_sources)}) could be removed"
    ]
    if total - overview.removable_sources > platform.config.room.quota:
        lines.append(
            "the files that must stay exceed platform.room.quota, so videos are downloaded one by one or wait; raise "
            "the quota"
        )
    return lines
