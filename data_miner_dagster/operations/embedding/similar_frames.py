"""Find the stored frames most similar to a frame, a picture or a phrase, for `data-miner similar`.

Each search reads the filter encoder's embeddings of all the videos that it covers, one video at a time on each core.
There is no index, so none can become stale.
"""

import logging
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.videos import embedded_keys, find_video, find_videos
from data_miner_dagster.domain.addresses import Origin, address_at
from data_miner_dagster.domain.errors import ConfigError, DamagedFileError
from data_miner_dagster.domain.keys import make_frame_id, split_frame_id
from data_miner_dagster.domain.records import Float32Array, PictureFile
from data_miner_dagster.models.provider import EncoderRole
from data_miner_dagster.operations.bases import embedding_basis
from data_miner_dagster.operations.embedding.some_frames import load_vectors
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone, attempt_extra
from data_miner_dagster.operations.naming import name_of_video
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.prompts import embed_prompts
from data_miner_dagster.operations.trials import read_in_batches
from data_miner_dagster.sites.redaction import redact_url
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster.stages.nearest import Match, Nearest
from data_miner_dagster.storage.frames import has_frames, read_frames
from data_miner_dagster.storage.vectors import read_embeddings

_FRAME_ID: Final = re.compile(r"[a-z0-9_]+-[A-Za-z0-9_.-]+/[0-9]{6}")
_PICTURE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
_VIDEOS_AT_ONCE: Final = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SimilarFrame:
    """One frame in the result of a search."""

    frame_id: str
    cosine: float
    video_name: str
    pts_seconds: float | None
    """The frame's time in its video, or None if the table of frames is missing or damaged."""
    address: str
    """The address of the video, at the frame's second if the site supports that."""
    picture: PictureFile | None
    """The frame's picture, or None if the file is missing."""


@dataclass(frozen=True, slots=True)
class SimilarFrames:
    """The frames that a search found, most similar first, and facts about the videos that were searched."""

    query: str
    """A description of the frame, picture or phrase that was searched for."""
    encoder: str
    frames: tuple[SimilarFrame, ...]
    num_videos: int
    """The number of videos that were searched, including those in `left_out`."""
    num_without_embeddings: int
    """The number of videos that have frames but no embeddings from this encoder."""
    left_out: tuple[str, ...]
    """The videos whose embeddings cannot be read, each with the reason."""


def find_similar(platform: Platform, what: str, *, count: int = 100, project: str | None = None) -> SimilarFrames:
    """Return the frames most similar to a stored frame, to the picture in a file, or to a phrase.

    Args:
        platform: the platform with the frames and the filter encoder.
        what: a frame id, the path of a picture, or a phrase.
        count: the maximum number of frames to return.
        project: the project whose videos are searched, or None to search all videos.

    Raises:
        ConfigError: the project does not exist, no video has embeddings from the filter encoder, or `what` is blank or
            names a frame or picture that does not exist or cannot be read.
        PermanentError: the stored frame `what` has no current embedding, or its video's frames are missing.
        ModelError: the encoder is missing. Searching by a stored frame does not need it.
    """
    if project is not None:
        platform.project_config(project)
    encoder = platform.models.filter_encoder
    keys, num_without = embedded_keys(platform.database, embedding_basis(encoder), project)
    if not keys:
        where = f"video of project {project!r}" if project is not None else "video"
        raise ConfigError(
            f"no {where} has embeddings from {encoder.name!r}, the filter encoder of this root; materialize "
            "`frame_embeddings`, or run `data-miner run --config FILE`"
        )
    query, vector = _query(platform, encoder, what)
    nearest = Nearest(vector, count)
    left_out: list[str] = []

    def compare(some: Sequence[str]) -> None:
        for key in some:
            why = attempt_alone("similar", key, partial(_offer, platform, encoder, key, nearest))
            if why is not None:
                left_out.append(f"{key}: {why.line if isinstance(why, ItemFault) else why}")

    portions = [keys[start : start + _VIDEOS_AT_ONCE] for start in range(0, len(keys), _VIDEOS_AT_ONCE)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for _ in threads.map(compare, portions):
            pass
    frames = tuple(_described(platform, nearest.matches))
    return SimilarFrames(query, encoder.name, frames, len(keys), num_without, tuple(sorted(left_out)))


def _query(platform: Platform, encoder: EncoderRole, what: str) -> tuple[str, Float32Array]:
    """Return a description of the frame, picture or phrase to search for, and its (D,) vector."""
    key, _, ordinal = what.rpartition("/")
    if ordinal.isdecimal() and key and find_video(platform.database, key) is not None:
        return f"the frame {what}", load_vectors(platform, encoder, key, [split_frame_id(what)[1]])[0]
    if (path := Path(what).expanduser()).is_file():
        for _, images, unreadable in read_in_batches([path], 1):
            if unreadable:
                raise ConfigError(f"{unreadable[0][1]}; choose another picture")
            return f"the picture {path}", embed_images(encoder.load(), images)[0]
    _check_is_text(what)
    return f"the text {what!r}", embed_prompts(platform, [what])[0]


def _check_is_text(what: str) -> None:
    """Check that a phrase to search for is neither blank nor a mistyped frame id or picture path.

    Raises:
        ConfigError: the phrase is blank, or has the form of a frame id or of a picture's path.
    """
    if not what.strip():
        raise ConfigError("the text to search for is empty; give a frame id, the path of a picture, or words")
    if _FRAME_ID.fullmatch(what):
        raise ConfigError(
            f"frame {what} does not exist, because the catalog has no video {what.rpartition('/')[0]}; correct the id"
        )
    if Path(what).suffix.lower() in _PICTURE_SUFFIXES:
        raise ConfigError(f"picture {what} does not exist; correct the path")


def _offer(platform: Platform, encoder: EncoderRole, key: str, nearest: Nearest) -> str | None:
    """Offer a video's frames to `nearest`. Return None, or the reason why they cannot be read."""
    try:
        stored = read_embeddings(platform.layout.embedding_file(encoder.name, key))
    except DamagedFileError as error:
        return str(error)
    if stored is None:
        return "the video's embeddings are missing; run `data-miner doctor --fix` to have them recreated"
    nearest.offer(key, stored.frame_indices, stored.vectors)
    return None


def _described(platform: Platform, matches: Sequence[Match]) -> list[SimilarFrame]:
    videos = {row.key: row for row in find_videos(platform.database, {match.group for match in matches})}
    places = {key: _places(platform, key) for key in videos}
    found = []
    for match in matches:
        row = videos.get(match.group)
        file_name, seconds = places.get(match.group, {}).get(match.number, (None, None))
        picture = None if file_name is None else platform.layout.frame_picture(match.group, file_name)
        url = "" if row is None else row.url if row.origin is Origin.LOCAL else redact_url(row.url)
        found.append(
            SimilarFrame(
                frame_id=make_frame_id(match.group, match.number),
                cosine=match.cosine,
                video_name=match.group if row is None else name_of_video(row),
                pts_seconds=seconds,
                address=url if seconds is None else address_at(url, seconds),
                picture=picture if picture is not None and picture.path.is_file() else None,
            )
        )
    return found


def _places(platform: Platform, key: str) -> dict[int, tuple[str, float]]:
    """Return the file name and time in seconds of each frame of a video, by frame index.

    The result is empty if the table of frames is missing or damaged.
    """
    if not has_frames(platform.layout, key):
        return {}
    columns = ["frame_index", "file_name", "pts_seconds"]
    table = attempt_extra("similar", key, lambda: read_frames(platform.layout, key, columns))
    if table is None or isinstance(table, ItemFault):
        return {}
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    return {index: (name, seconds) for index, name, seconds in rows}
