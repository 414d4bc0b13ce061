"""Print a project's re-uploaded videos, for `data-miner status`."""

from typing import TYPE_CHECKING

from data_miner_dagster.cli.output import echo, print_table, shortened

if TYPE_CHECKING:
    from data_miner_dagster.operations.platform import Platform


def project_reuploads_content(platform: "Platform", project: str) -> "list[dict[str, object]]":
    """Return a row for each video of a project that is a re-upload of another video."""
    from dataclasses import asdict

    from data_miner_dagster.operations.deduplication.reuploads import project_reuploads

    return [asdict(found) for found in project_reuploads(platform, project)]


def print_reuploads(found: "list[dict[str, object]]", most: int = 20) -> None:
    """Print a table of the first `most` re-uploaded videos, if there are any."""
    if not found:
        return
    echo("")
    rows = [
        [
            shortened(str(row["title"]), 40),
            shortened(str(row["original_title"]), 40),
            f"{row['num_matched_frames']} of {row['num_frames']}",
        ]
        for row in found[:most]
    ]
    print_table(["re-uploaded video", "original", "matching frames"], rows, numbers=["matching frames"])
    if len(found) > most:
        echo(f"and {len(found) - most} more; --json lists all")
