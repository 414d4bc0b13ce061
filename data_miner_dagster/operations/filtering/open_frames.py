"""Find the frames whose decision depends only on the positive threshold, and their distances from it.

Belongs here: reading the frames from the stored similarities. Does not belong here: choosing frames to ask about
(operations/filtering/questions.py).
"""

from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.keys import make_frame_id, split_frame_id
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.domain.verdicts import FramePlace
from data_miner_dagster.operations.exemplars import exemplars_of
from data_miner_dagster.operations.filtering.filter_project import DecisionBasis, decide_part
from data_miner_dagster.operations.filtering.scoring import similarities_header
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.prompts import WantedPrompts
from data_miner_dagster.stages.estimates import Float64Array, Int64Array
from data_miner_dagster.stages.filtering.calibration import sampling_order
from data_miner_dagster.stages.filtering.decisions import FilteringRules, resolve_rules
from data_miner_dagster.storage.alignment import position_at
from data_miner_dagster.storage.similarities import SimilaritiesHeader, SimilaritiesPart, read_header, read_parts
from data_miner_dagster.storage.spilled_columns import SpilledColumns

_LOWEST: Final = -4.0
"""A shift that lowers any threshold below all similarities, so that only the other rules can drop a frame."""


@dataclass(frozen=True, slots=True)
class OpenFrames:
    """The N open frames, whose decision depends only on the positive threshold, ordered by video and time.

    The columns are mapped from a temporary file and use little memory.
    """

    video_keys: tuple[str, ...]
    offsets: Int64Array  # (V+1,): video v has the frames offsets[v]:offsets[v+1]
    frame_indices: npt.NDArray[np.int32]
    pts_seconds: Float64Array
    headroom: Float64Array  # similarity minus threshold
    numbers: npt.NDArray[np.uint64]  # from `sampling_order`: frames are drawn in ascending order
    prompts: npt.NDArray[np.int16]  # the index of the positive prompt with the most headroom
    similarities: Float32Array

    def frame_id(self, position: int) -> str:
        """Return the id of the frame at a position in the columns."""
        video = int(np.searchsorted(self.offsets, position, side="right")) - 1
        return make_frame_id(self.video_keys[video], int(self.frame_indices[position]))

    def position_of(self, frame_id: str) -> int | None:
        """Return a frame's position in the columns, or None if the frame is not open."""
        try:
            video_key, frame_index = split_frame_id(frame_id)
        except ValueError:
            return None
        first, end = self._of_video(video_key)
        position = first + int(np.searchsorted(self.frame_indices[first:end], frame_index))
        return position if position < end and self.frame_indices[position] == frame_index else None

    def position_at(self, place: FramePlace) -> int | None:
        """Return the position of the frame at a time in a video, or None if there is no open frame at that time."""
        first, end = self._of_video(place.video_key)
        found = position_at(self.pts_seconds[first:end], place.pts_seconds)
        return None if found is None else first + found

    def _of_video(self, video_key: str) -> tuple[int, int]:
        video = bisect_left(self.video_keys, video_key)
        if video == len(self.video_keys) or self.video_keys[video] != video_key:
            return 0, 0
        return int(self.offsets[video]), int(self.offsets[video + 1])


def rules_of(platform: Platform, config: FilteringConfig) -> FilteringRules:
    """Return a project's filtering rules with the values for the current filter encoder.

    Raises:
        ConfigError: a threshold is given per encoder, but not for this encoder.
    """
    encoder = platform.models.filter_encoder
    return resolve_rules(config, encoder.name, encoder.calibration)


def read_open_frames(platform: Platform, project: str, config: FilteringConfig) -> OpenFrames:
    """Return the open frames of all videos in a project's table of similarities.

    Raises:
        DataMinerError: the project has not been filtered with its current prompts.
        ConfigError: a threshold is given per encoder, but not for this encoder, or an exemplar cannot be read.
    """
    path = platform.layout.similarities_table(project)
    header = read_header(path)
    wanted = WantedPrompts(config, exemplars_of(platform, project, config))
    if header is None or not header.has_same_scale(similarities_header(platform, wanted, ())):
        raise DataMinerError(
            f"project {project!r} has not been filtered with its current prompts; run `data-miner run --config FILE`"
        )
    rules = rules_of(platform, config)
    counts: list[int] = []
    with SpilledColumns(np.int32, np.float64, np.float64, np.uint64, np.int16, np.float32) as columns:
        for part in read_parts(path, header):
            is_open, values = _open_of(part, header, rules)
            offsets = part.video_offsets.tolist()
            counts += [int(is_open[start:stop].sum()) for start, stop in pairwise(offsets)]
            columns.add(*(of_frames[is_open] for of_frames in values))
        indices, pts_seconds, headroom, numbers, prompts, similarities = columns.mapped()
    counts += [0] * (len(header.videos) - len(counts))  # videos after the last part have no frames
    return OpenFrames(
        video_keys=tuple(video.video_key for video in header.videos),
        offsets=np.cumsum([0, *counts], dtype=np.int64),
        frame_indices=indices,
        pts_seconds=pts_seconds,
        headroom=headroom,
        numbers=numbers,
        prompts=prompts,
        similarities=similarities,
    )


def _open_of(
    part: SimilaritiesPart, header: SimilaritiesHeader, rules: FilteringRules
) -> tuple[npt.NDArray[np.bool_], tuple[npt.NDArray[np.generic], ...]]:
    """Return a bool array that is True for a part's open frames, and the columns of all its frames.

    The columns are those that `OpenFrames` maps, in the same order.
    """
    unthinned = replace(rules, min_gap_seconds=0.0, max_frames_per_video=None)
    lenient = replace(
        unthinned, positive=tuple(replace(rule, threshold=(rule.threshold or 0.0) + _LOWEST) for rule in rules.positive)
    )
    decisions = decide_part(part, DecisionBasis(header, unthinned))
    indices = part.rows.column("frame_index").to_numpy()
    numbers = [
        sampling_order(video.video_key, indices[start:stop])
        for video, (start, stop) in zip(part.videos, pairwise(part.video_offsets.tolist()), strict=True)
    ]
    return decide_part(part, DecisionBasis(header, lenient)).is_kept, (
        indices,
        part.rows.column("pts_seconds").to_numpy(),
        decisions.headroom,
        np.concatenate([np.zeros(0, np.uint64), *numbers]),
        decisions.positive_prompts,
        decisions.positive_similarities,
    )
