"""Run jobs on untrusted files, in the worker processes of `FrameWorkers` and `MediaWorkers`.

A job verifies a video, decodes a picture, or writes a folder of frames or windows.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.full_disks import disk_full_is_the_videos
from data_miner_dagster.domain.json_records import from_json
from data_miner_dagster.media.foreign_pictures import see_picture, small_picture
from data_miner_dagster.media.images import read_stored_image, read_stored_image_reduced
from data_miner_dagster.operations.extraction.folder import make_frame_folder
from data_miner_dagster.operations.extraction.windows import store_windows
from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob, WindowsJob
from data_miner_dagster.operations.foreign.probe_jobs import probe
from data_miner_dagster.stages.sourcing import split_storyboard
from data_miner_dagster.workers.serving import Job, serve

Decoded = tuple[npt.NDArray[np.uint8], dict[str, Any]]
"""Decoded pixels, and facts about the picture that the job returns together with the shape of the pixels."""


def _make(arguments: dict[str, Any]) -> dict[str, Any]:
    job = from_json(FrameFolderJob, arguments)
    with disk_full_is_the_videos(job.folder):
        if job.picture_paths:
            # The module imports the catalog, which no other job needs and which would slow down every worker's start.
            from data_miner_dagster.operations.extraction.importing import import_frame_folder

            return asdict(import_frame_folder(job))
        return asdict(make_frame_folder(job))


def _store_windows(arguments: dict[str, Any]) -> dict[str, Any]:
    job = from_json(WindowsJob, arguments)
    with disk_full_is_the_videos(job.folder):
        return asdict(store_windows(job))


def _see(arguments: dict[str, Any]) -> Decoded:
    image = see_picture(Path(arguments["path"]).read_bytes(), max_pixels=arguments["max_pixels"])
    tiles = split_storyboard(image, arguments["rows"], arguments["columns"])
    seen = [tiles[place] for place in arguments["wanted"] if place < len(tiles)]
    return np.stack(seen) if seen else np.zeros((0, 1, 1, 3), np.uint8), {}


def _see_file(arguments: dict[str, Any]) -> Decoded:
    at_least_wh = arguments["at_least_wh"]
    seen = small_picture(Path(arguments["path"]), tuple(at_least_wh) if at_least_wh else None)
    return seen.rgb, {"full_wh": seen.full_wh}


def _read_stored(arguments: dict[str, Any]) -> Decoded:
    path, sha256, min_side = Path(arguments["path"]), arguments["sha256"], arguments["min_side"]
    if min_side is None:
        return read_stored_image(path, sha256), {}
    return read_stored_image_reduced(path, sha256, min_side), {}


def _pixels(decode: Callable[[dict[str, Any]], Decoded]) -> Job:
    """Return a job that decodes a picture, writes the raw pixels to a file, and returns their shape.

    The caller creates the file, and needs no parser to read it. If the picture cannot be read, the job returns the
    reason.
    """

    def job(arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            pixels, known = decode(arguments)
        except UnreadableImageError as error:
            return {"reason": str(error)}
        pixels.tofile(arguments["pixels"])
        return {"shape": pixels.shape, **known}

    return job


JOBS: Final[dict[str, Job]] = {
    "make_frame_folder": _make,
    "store_windows": _store_windows,
    "probe_video": probe,
    "see_picture": _pixels(_see),
    "see_file": _pixels(_see_file),
    "read_stored": _pixels(_read_stored),
}


class _WithoutPandas(MetaPathFinder):
    """Makes imports of pandas fail.

    PyArrow would import pandas for the first table that each worker writes, only to recognize data frames.
    """

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is disabled in workers, because it is slow to import", name=fullname)


def main(jobs: Mapping[str, Job] = JOBS) -> None:
    """Run the jobs that the parent process requests, until that process ends."""
    # Workers decode videos on all cores at the same time, so OpenCV's threads would only compete with each other.
    cv2.setNumThreads(1)
    sys.meta_path.insert(0, _WithoutPandas())
    serve(jobs)


if __name__ == "__main__":
    main()
