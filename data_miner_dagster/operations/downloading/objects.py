"""Fetch a video from a bucket into an attempt's folder. A later attempt can continue from the bytes in that folder."""

import time
from collections.abc import Callable
from pathlib import Path

from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.domain.errors import (
    ConfigError,
    ObjectError,
    ObjectForbiddenError,
    ObjectMissingError,
    ObjectTransientError,
    VideoPermanentError,
    VideoTransientError,
)
from data_miner_dagster.domain.keys import video_file_name
from data_miner_dagster.domain.object_urls import ObjectUrl
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.operations.object_stores import open_bucket
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.stores import ObjectStore
from data_miner_dagster.sites.records import FetchedVideo

_EXTRACTOR = "object"


def bucket_of(address: str) -> str:
    """Return the address of an object's bucket. Limits on simultaneous downloads apply to each bucket."""
    return "/".join(address.split("/", 3)[:3])


def fetch_object(
    platform: Platform, row: VideoRow, url: ObjectUrl, folder: Path, *, check: Callable[[], None]
) -> FetchedVideo:
    """Download an object into `folder` as `video.<ext>`, continuing from any bytes of an earlier attempt.

    Args:
        platform: the platform of one root.
        row: the video's row in the catalog.
        url: the video's address.
        folder: an existing folder.
        check: called between two requests. It raises if the claim on the video is lost.

    Raises:
        VideoPermanentError: the object is missing, forbidden, empty or too large, or the bucket reports another
            permanent error.
        VideoTransientError: the bucket does not answer or takes too long, or a setting for it is missing or invalid.
        ClaimLostError: `check` raised it.
    """
    config = platform.config.downloading
    deadline = time.monotonic() + config.max_wall_seconds

    def check_all() -> None:
        check()
        if time.monotonic() > deadline:
            raise VideoTransientError(
                VideoErrorKind.TRANSIENT,
                f"downloading {url} took longer than platform.downloading.max_wall_seconds={config.max_wall_seconds:g}"
                "; raise this limit if it is too low",
            )

    extension = url.name.rpartition(".")[2].lower()
    target = folder / video_file_name(extension if extension.isalnum() and extension.isascii() else "bin")
    try:
        store = open_bucket(platform.config.objects, url, check=check_all)
        identity = _fetch(store, target, config.max_size_bytes)
    except ObjectMissingError as error:
        raise VideoPermanentError(VideoErrorKind.REMOVED, str(error)) from error
    except (ObjectForbiddenError, ObjectError) as error:
        raise VideoPermanentError(VideoErrorKind.FORBIDDEN, str(error)) from error
    except (ObjectTransientError, ConfigError) as error:  # other videos do not need these settings
        raise VideoTransientError(VideoErrorKind.TRANSIENT, str(error)) from error
    known = VideoCandidate(row.key, row.url, "objects", "", 0, utc_now(), title=row.title, origin=row.origin)
    return FetchedVideo(target, _EXTRACTOR, identity, known, is_direct=True, is_complete=True)


def _fetch(store: ObjectStore, target: Path, max_size_bytes: int) -> str:
    """Download an object if its size is allowed. Return the identity of the downloaded version."""
    found = store.find("")
    if found is None:
        raise ObjectMissingError(
            f"{store.shown} does not exist or was deleted; upload it again, then run `data-miner retry --kind "
            f"{VideoErrorKind.REMOVED.value}`"
        )
    if found.size_bytes == 0:
        raise VideoPermanentError(
            VideoErrorKind.EMPTY_FILE,
            f"{store.shown} is empty; upload the file again, then run `data-miner retry --kind "
            f"{VideoErrorKind.EMPTY_FILE.value}`",
            is_of_file_alone=True,
        )
    if found.size_bytes > max_size_bytes:
        raise VideoPermanentError(
            VideoErrorKind.TOO_LARGE,
            f"{store.shown} has {found.size_bytes} bytes, more than platform.downloading.max_size_bytes="
            f"{max_size_bytes}; to accept it, raise the limit, then run `data-miner retry --kind "
            f"{VideoErrorKind.TOO_LARGE.value}`",
        )
    return store.download("", target).identity
