"""Distinguish frames by verdicts and thumbnails. Thumbnails are read, or computed if missing, on first use.

Does not belong here: the comparison (stages/deduplication/views.py), and turning a picture into a thumbnail
(models/encoders/thumbnails.py).
"""

import logging
import tempfile
from typing import Final

import numpy as np
import pyarrow as pa

from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.thumbnails import NUM_VALUES
from data_miner_dagster.models.provider import THUMBNAILS
from data_miner_dagster.operations.deduplication.verdicts import PairVerdicts
from data_miner_dagster.operations.embedding.some_frames import ensure_embeddings, load_stored
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.deduplication.cosines import IntArray
from data_miner_dagster.stages.deduplication.distinctions import NOTHING_APART, Distinctions
from data_miner_dagster.stages.deduplication.views import ThumbnailArray

logger = logging.getLogger(__name__)

_IN_MEMORY: Final = 20_000
"""Thumbnails of more frames than this (70 MB) go to a temporary file, so that the system can reclaim their memory."""


def distinctions_of(
    platform: Platform, config: DeduplicationConfig, verdicts: PairVerdicts, frames: pa.Table
) -> Distinctions:
    """Return the `Distinctions` that tell rows of `frames` apart by verdicts and thumbnails.

    `frames` has `PICTURE_COLUMNS`. The setting `same_place` decides whether thumbnails are compared.
    """
    if not len(frames):
        return NOTHING_APART
    said_different = verdicts.different_rows(frames)
    if config.same_place == "nowhere":
        return Distinctions(said_different=said_different)
    thumbnails = StoredThumbnails(platform, frames)
    return Distinctions(
        thumbnails.of,
        thumbnails.video_codes,
        is_across_videos=config.same_place == "everywhere",
        said_different=said_different,
    )


class StoredThumbnails:
    """The thumbnails of a list of frames. A video's thumbnails are read or computed when they are first needed."""

    def __init__(self, platform: Platform, frames: pa.Table) -> None:
        self._platform = platform
        videos = frames["video_key"].combine_chunks().dictionary_encode()
        self._video_keys: list[str] = videos.dictionary.to_pylist()
        self.video_codes: IntArray = videos.indices.to_numpy().astype(np.int64)
        self._frame_indices = frames["frame_index"].to_numpy()
        self._is_read = np.zeros(len(self._video_keys), np.bool_)
        self._thumbnails = _room_for(len(frames), platform)

    def of(self, rows: IntArray) -> ThumbnailArray:
        """Return the (N, NUM_VALUES) uint8 thumbnails of the frames in `rows`.

        Raises:
            VideosLeftOutError: the frames of some videos cannot be read.
            DamagedFileError: the frame table of a video is damaged.
        """
        codes = np.unique(self.video_codes[rows])
        missing = codes[~self._is_read[codes]].tolist()
        if missing:
            self._read(missing)
        return np.asarray(self._thumbnails[rows], np.uint8)

    def _read(self, codes: list[int]) -> None:
        rows_by_code = {code: np.flatnonzero(self.video_codes == code) for code in codes}
        wanted = {self._video_keys[code]: self._frame_indices[rows] for code, rows in rows_by_code.items()}
        num_made = ensure_embeddings(self._platform, THUMBNAILS, wanted)
        if num_made:
            logger.debug("computed thumbnails of %s", counted(num_made, "frame"))
        for code, rows in rows_by_code.items():
            stored = load_stored(self._platform, THUMBNAILS, self._video_keys[code], self._frame_indices[rows])
            self._thumbnails[rows] = stored.astype(np.uint8)
            self._is_read[code] = True


def _room_for(num_frames: int, platform: Platform) -> ThumbnailArray:
    if num_frames <= _IN_MEMORY:
        return np.empty((num_frames, NUM_VALUES), np.uint8)
    with tempfile.TemporaryFile(dir=platform.layout.root) as file:  # unnamed; the mapping keeps it open
        return np.memmap(file, np.uint8, "w+", shape=(num_frames, NUM_VALUES))
