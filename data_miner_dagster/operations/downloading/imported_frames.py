"""Register videos that are local folders of pictures. Nothing is copied until their frames are extracted."""

from pathlib import Path

from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.keys import FRAMES_PREFIX, is_key_of_content
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoFileRecord
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sites.local_files import key_of_frames, list_frames
from data_miner_dagster.storage.videos import VideoInfo, write_video_info


def imported_frame_paths(platform: Platform, video_key: str) -> list[Path] | None:
    """Return the sorted paths of a video's pictures if the video is a folder of pictures, or None otherwise.

    Raises:
        VideoPermanentError: (MISSING_FILE) the folder is missing, or its pictures differ from those that were listed.
    """
    if not video_key.startswith(FRAMES_PREFIX):
        return None
    row = find_video(platform.database, video_key)
    folder = Path(row.url if row is not None and row.origin is Origin.LOCAL else "")
    paths = list_frames(folder) if folder.is_absolute() else []
    if not paths or not is_key_of_content(video_key, key_of_frames(paths)[1]):
        raise VideoPermanentError(
            VideoErrorKind.MISSING_FILE,
            f"the folder {folder} is missing, or its pictures have changed since it was listed; list the sources again "
            "with `data-miner populate --config FILE --force`",
        )
    return paths


def take_frames(platform: Platform, row: VideoRow) -> VideoInfo:
    """Write and return the manifest of a folder of pictures.

    Raises:
        VideoPermanentError: (MISSING_FILE) the folder is missing, or its pictures differ from those that were listed.
    """
    paths = imported_frame_paths(platform, row.key)
    assert paths is not None
    _, sha256 = key_of_frames(paths)
    info = VideoInfo(
        video_key=row.key,
        file=VideoFileRecord(
            file_name="",
            size_bytes=sum(path.stat().st_size for path in paths),
            sha256=sha256,
            duration_seconds=float(len(paths)),  # one second per picture
            width=0,  # pictures may differ in size: frames.parquet has each size
            height=0,
            title=row.title,
        ),
        url=None,
        extractor="frames",
    )
    write_video_info(platform.layout, info)
    return info
