"""Collect the inputs for dividing a release into splits.

Does not belong here: deciding on the splits (stages/splitting/).
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.config.releasing import ReleasingConfig
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.splits import cut_of, split_at
from data_miner_dagster.export.records import ReleaseImage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.source import ReleaseSource
from data_miner_dagster.operations.split_memory import Manifests, remembered_splits
from data_miner_dagster.stages.splitting.blocks import MAX_VIDEOS_CUT, cut_in_blocks, with_gaps
from data_miner_dagster.stages.splitting.drawing import VideoContent, draw_splits
from data_miner_dagster.stages.splitting.groups import channel_links, group_videos


class FoundImages:
    """The numbers of images and boxes in each video that has images.

    The times of images are stored only for videos that are or can be cut between splits.

    Args:
        decided: the remembered or prescribed splits, by video key.
    """

    def __init__(self, decided: Mapping[str, str]) -> None:
        self.by_video: dict[str, VideoContent] = {}
        self._times: dict[str, list[float]] = {}
        self._cut_before = {key for key, split in decided.items() if cut_of(split)}

    def add(self, video_key: str, images: Sequence[ReleaseImage]) -> None:
        """Add one video with its images, in order of time."""
        images_by_class = Counter(name for image in images for name in {box.class_index for box in image.labels})
        boxes_by_class = Counter(box.class_index for image in images for box in image.labels)
        self.by_video[video_key] = VideoContent(len(images), images_by_class, boxes_by_class)
        if len(self.by_video) <= MAX_VIDEOS_CUT or video_key in self._cut_before:
            self._times[video_key] = [image.pts_seconds for image in images]

    def cuts(self, releasing: ReleasingConfig, decided: Mapping[str, str]) -> dict[str, str]:
        """Return the cuts, by video key, of the new videos with enough images to be divided between the splits.

        No video is cut if there are more than MAX_VIDEOS_CUT videos, or if any video already belongs to a single split.
        """
        is_whole = any(not cut_of(decided[key]) for key in self.by_video if key in decided)
        if len(self.by_video) > MAX_VIDEOS_CUT or is_whole:
            return {}
        fresh = {key: times for key, times in self._times.items() if key not in decided}
        shares, guard_seconds = releasing.ordered_splits, releasing.guard_seconds
        cuts = {key: cut_in_blocks(times, shares, guard_seconds) for key, times in fresh.items()}
        return {key: cut for key, cut in cuts.items() if cut is not None}

    def is_in_a_split(self, splits: Mapping[str, str]) -> npt.NDArray[np.bool_]:
        """Return an (N,) bool array, in the order of `add` calls, that is False for images between two splits."""
        parts = [np.ones(0, np.bool_)]
        for key, content in self.by_video.items():
            times = self._times.get(key) if cut_of(splits[key]) else None
            is_in = [split_at(splits[key], time) is not None for time in times] if times else [True]
            parts.append(np.broadcast_to(np.array(is_in, np.bool_), (content.num_images,)))
        return np.concatenate(parts)


def split_videos(
    releasing: ReleasingConfig, source: ReleaseSource, found: FoundImages, decided: Mapping[str, str]
) -> tuple[list[tuple[str, ...]], dict[str, str]]:
    """Return the groups of linked videos, and the split of every video with an image, by video key.

    For a video that is divided between splits, the value is the text of its cut (domain/splits.py).

    Args:
        releasing: the project's settings of releasing.
        source: the source of the links between videos that should share a split.
        found: the images of each video.
        decided: the remembered or prescribed splits, by video key.
    """
    links = source.duplicate_links()
    if releasing.group_by == "channel":
        links |= channel_links({key: source.channel_of(key) for key in found.by_video})
    groups = group_videos(list(found.by_video), links)
    shares, cuts = releasing.ordered_splits, found.cuts(releasing, decided)
    # Cut videos fill every split, so a video with too few images to be cut goes to the first split, for training.
    uncut = dict.fromkeys(found.by_video, next(iter(shares))) if cuts else {}
    drawn = draw_splits(groups, shares, found.by_video, {**uncut, **cuts, **decided})
    return groups, dict(sorted(drawn.items()))  # the order must not depend on which splits are drawn or remembered


def decided_splits(platform: Platform, config: ProjectConfig, manifests: Manifests) -> dict[str, str]:
    """Return the splits in `releasing.fixed_splits`, and the remembered splits of other videos, by video key.

    For a video that is divided between splits, the value is the text of its cut (domain/splits.py), with the currently
    configured gaps.

    Raises:
        ConfigError: `fixed_splits` names something that is not a video of the project.
    """
    remembered = remembered_splits(platform, config.name, config.releasing, manifests)
    guard_seconds = config.releasing.guard_seconds
    return {
        **{key: with_gaps(split, guard_seconds) for key, split in remembered.items()},
        **_prescribed_splits(platform, config),
    }


def _prescribed_splits(platform: Platform, config: ProjectConfig) -> dict[str, str]:
    prescribed = config.releasing.prescribed_splits
    members = {member.video_key for member in find_members(platform.database, config.name)} if prescribed else set()
    if unknown := sorted(prescribed.keys() - members):
        raise ConfigError(
            f"project {config.name!r}: releasing.fixed_splits names {unknown[0]!r}, which is not a video of the "
            f"project; run `data-miner videos --project {config.name}` to list the keys of its videos"
        )
    return prescribed
