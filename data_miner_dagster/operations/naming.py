"""Name videos for people, by their file, folder or title instead of their key. This module imports nothing heavy."""

from pathlib import PurePosixPath

from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.keys import FRAMES_PREFIX
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.sites.redaction import redact_url


def name_of_video(row: VideoRow) -> str:
    """Return a video's display name: the name of its local file or folder, its title, or its redacted address."""
    if row.origin is Origin.LOCAL:
        return PurePosixPath(row.url).name
    return row.title or with_references(redact_url(row.url))


def clock_text(seconds: float) -> str:
    """Format a time in a video as video players do, such as `0:07` or `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def num_pictures_left_out(row: VideoRow, most_frames: int | None) -> int:
    """Return how many pictures of a folder were left out as damaged or too large.

    The number is 0 for a video file, and before extraction.

    Args:
        row: the video.
        most_frames: `platform.extraction.max_frames_per_video`.
    """
    is_folder = row.key.startswith(FRAMES_PREFIX) and row.status is VideoStatus.EXTRACTED
    if not is_folder or row.duration_seconds is None or row.num_frames is None:
        return 0
    num_pictures = round(row.duration_seconds)  # one second per picture
    wanted = num_pictures if most_frames is None else min(num_pictures, most_frames)
    return max(0, wanted - row.num_frames)


def left_out_text(num_pictures: int) -> str:
    """Return a sentence that tells people how many pictures were left out."""
    were = "picture was" if num_pictures == 1 else "pictures were"
    return f"{num_pictures} {were} left out as damaged or too large; the log names each one"
