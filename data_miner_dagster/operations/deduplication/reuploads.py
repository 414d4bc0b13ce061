"""Read the re-uploads and excerpts that deduplication detected, with the titles of their videos.

Does not belong here: detecting them (stages/deduplication/reuploads.py).
"""

from dataclasses import dataclass

from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.tables import read_table


@dataclass(frozen=True, slots=True)
class ReportedReupload:
    """A video that is contained in another one, the original.

    `share` is the share of the video's kept frames that occur in the original in the same order. `original_share` is
    the share of the original's kept frames that occur in the video in the same order.
    """

    video_key: str
    title: str  # the video's key if it has no title
    original_video_key: str
    original_title: str
    share: float
    original_share: float  # below 1 if the video is an excerpt
    num_matched_frames: int  # the video's kept frames that occur in the original
    num_frames: int  # the video's kept frames


def project_reuploads(platform: Platform, project: str) -> list[ReportedReupload]:
    """Return a project's re-uploads, sorted by video key. The list is empty before the project is deduplicated."""
    path = platform.layout.reuploads_table(project)
    if not path.is_file():
        return []

    def title(video_key: str) -> str:
        video = find_video(platform.database, video_key)
        return (video.title if video is not None else None) or video_key

    return [
        ReportedReupload(title=title(row["video_key"]), original_title=title(row["original_video_key"]), **row)
        for row in read_table(path).to_pylist()
    ]
