"""What the oracle learns about two frames of one view, and random thumbnails that show the same few views."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.thumbnails import LUMA_WH, NUM_LUMA, NUM_VALUES
from data_miner_dagster.stages.deduplication.views import Views

NUM_VIEWS = 3


def told_apart_by(thumbnails: Mapping[str, npt.NDArray[Any]]) -> Callable[[str, str], bool]:
    """Return a function that says for two frame ids whether the frames' thumbnails show that something changed."""

    def is_apart(frame_id: str, other_id: str) -> bool:
        if split_frame_id(frame_id)[0] != split_frame_id(other_id)[0]:
            return False  # `same_place` is `within_videos`, and the only frame of a video may lack a thumbnail
        pair = np.stack([thumbnails[frame_id], thumbnails[other_id]]).astype(np.uint8)
        return bool(Views(pair, np.zeros(2, np.int64)).are_changed(np.array([0]), np.array([1]))[0])

    return is_apart


def random_thumbnails(rng: np.random.Generator, num_frames: int) -> npt.NDArray[np.uint8]:
    """Return (N, NUM_VALUES) thumbnails of a few views, which are the same in every call. Some also show a square."""
    width, height = LUMA_WH
    views = np.random.default_rng(0).integers(0, 200, (NUM_VIEWS, NUM_LUMA))
    thumbnails = np.full((num_frames, NUM_VALUES), 128)
    thumbnails[:, :NUM_LUMA] = views[rng.integers(NUM_VIEWS, size=num_frames)] + rng.integers(0, 3, (num_frames, 1))
    for row in np.flatnonzero(rng.random(num_frames) < 0.5):
        left, top = int(rng.integers(3)) * 20, int(rng.integers(2)) * 16
        luma = thumbnails[row, :NUM_LUMA].reshape(height, width)
        luma[top : top + 6, left : left + 6] = 250
    return np.asarray(thumbnails, np.uint8)
