"""Write `datasheet.md`, the background information that a user needs before using a release.

Source: Gebru et al., Datasheets for Datasets, Communications of the ACM 64(12), 2021.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.domain.splits import cut_of, differ_in_gaps_alone
from data_miner_dagster.export.effort import effort_rows
from data_miner_dagster.export.licences import forbidding, licences_of
from data_miner_dagster.export.records import ReleaseHeader, ReleaseVideo
from data_miner_dagster.export.templating import render

DATASHEET_FILE: Final = "datasheet.md"
MAX_VIDEOS_LISTED: Final = 200


def write_datasheet(
    folder: Path, header: ReleaseHeader, release: Mapping[str, Any], videos: Sequence[ReleaseVideo]
) -> None:
    """Write the datasheet of a release. It lists at most `MAX_VIDEOS_LISTED` videos.

    Args:
        folder: the folder of the release.
        header: the header of the release.
        release: the content of the release's manifest.
        videos: the videos with at least one image in the release, sorted by key.
    """
    text = render(
        "datasheet.md.j2",
        header=header,
        release=release,
        videos=videos,
        licences=(licences := licences_of(videos)),
        forbidding=forbidding(licences),
        limits=release.get("limits", ()),
        cuts=cuts_of(videos),
        gaps=gaps_changed(release),
        effort=effort_rows(release),
        max_videos=MAX_VIDEOS_LISTED,
    )
    (folder / DATASHEET_FILE).write_text(text, encoding="utf-8")


def gaps_changed(release: Mapping[str, Any]) -> list[str]:
    """Return the keys of the videos that are cut at the same times as in their last release, but with other gaps."""
    moved = (release.get("changes") or {}).get("videos_moved", ())
    return [key for key, before, after in moved if differ_in_gaps_alone(before, after)]


def cuts_of(videos: Sequence[ReleaseVideo]) -> dict[str, str]:
    """Return {video key: blocks as text} for the videos that are divided between splits by time."""
    return {video.video_key: video.split for video in videos if cut_of(video.split)}
