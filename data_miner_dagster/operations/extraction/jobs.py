"""What workers do with files of strangers: prove a video, see a picture, make a folder of frames.

Run by `FrameWorkers` and `MediaWorkers`.
"""

import errno
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_miner_dagster.domain.errors import VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.foreign_pictures import see_picture
from data_miner_dagster.media.outcomes import UnreadableImageError
from data_miner_dagster.operations.extraction.folder import make_frame_folder
from data_miner_dagster.operations.foreign.media_requests import job_from_json
from data_miner_dagster.operations.foreign.probe_jobs import probe
from data_miner_dagster.stages.sourcing import split_storyboard
from data_miner_dagster.workers.serving import serve

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def _make(arguments: dict[str, Any]) -> dict[str, Any]:
    job = job_from_json(arguments)
    try:
        if job.picture_paths:
            # brings the catalog along, which no other job needs and every start of this module would pay for
            from data_miner_dagster.operations.extraction.importing import import_frame_folder

            return asdict(import_frame_folder(job))
        return asdict(make_frame_folder(job))
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise VideoTransientError(VideoErrorKind.DISK_FULL, f"no space left for frames: {error}") from error


def _see(arguments: dict[str, Any]) -> str | None:
    """Write what is wanted of a picture beside it as one array; return why there is nothing to see, if there is not."""
    folder = Path(arguments["folder"])
    try:
        image = see_picture((folder / "picture").read_bytes(), max_pixels=arguments["max_pixels"])
    except UnreadableImageError as error:
        return str(error)
    tiles = split_storyboard(image, arguments["rows"], arguments["columns"])
    seen = [tiles[place] for place in arguments["wanted"] if place < len(tiles)]
    np.save(folder / "seen.npy", np.stack(seen) if seen else np.zeros((0, 1, 1, 3), np.uint8))
    return None


if __name__ == "__main__":
    serve({"make_frame_folder": _make, "probe_video": probe, "see_picture": _see})
