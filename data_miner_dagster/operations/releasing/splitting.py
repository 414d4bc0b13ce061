"""The splits of a release: what its videos bring, gathered for the decisions of stages/splitting."""

from collections import Counter
from collections.abc import Mapping, Sequence

from data_miner_dagster.config.releasing import ReleasingConfig
from data_miner_dagster.domain.splits import cut_of, split_at
from data_miner_dagster.export.records import ReleaseImage
from data_miner_dagster.operations.releasing.source import ReleaseSource
from data_miner_dagster.stages.splitting.blocks import MAX_VIDEOS_CUT, cut_in_blocks
from data_miner_dagster.stages.splitting.drawing import VideoContent, draw_splits
from data_miner_dagster.stages.splitting.groups import channel_links, group_videos


class FoundImages:
    """What the images of a project bring, by video. Keeps the times of images only while the videos are few."""

    def __init__(self) -> None:
        self.by_video: dict[str, VideoContent] = {}
        self._times: dict[str, list[float]] = {}

    def add(self, video_key: str, images: Sequence[ReleaseImage]) -> None:
        """Add the images of one video, in order of time."""
        images_by_class = Counter(name for image in images for name in {box.class_index for box in image.labels})
        boxes_by_class = Counter(box.class_index for image in images for box in image.labels)
        self.by_video[video_key] = VideoContent(len(images), images_by_class, boxes_by_class)
        if len(self.by_video) <= MAX_VIDEOS_CUT:
            self._times[video_key] = [image.pts_seconds for image in images]

    def cuts(self, releasing: ReleasingConfig, decided: Mapping[str, str]) -> dict[str, str]:
        """Return the cut of each video, if there are so few videos that splits are filled with parts of them."""
        is_whole = any(not cut_of(decided[key]) for key in self.by_video if key in decided)
        if len(self.by_video) > MAX_VIDEOS_CUT or is_whole:
            return {}
        fresh = {key: times for key, times in self._times.items() if key not in decided}
        shares, guard_seconds = releasing.ordered_splits, releasing.guard_seconds
        cuts = {key: cut_in_blocks(times, shares, guard_seconds) for key, times in fresh.items()}
        return {key: cut for key, cut in cuts.items() if cut is not None}

    def num_between_blocks(self, splits: Mapping[str, str]) -> int:
        """Return how many images lie in a gap between two splits of their video."""
        return sum(split_at(splits[key], time) is None for key, times in self._times.items() for time in times)


def split_videos(
    releasing: ReleasingConfig, source: ReleaseSource, found: FoundImages, decided: Mapping[str, str]
) -> tuple[list[tuple[str, ...]], dict[str, str]]:
    """Return the groups of videos that share a split, and the split of every video with an image.

    Args:
        releasing: what the project wants.
        source: knows which videos are linked.
        found: what they bring.
        decided: video key to split, as remembered or prescribed.
    """
    links = source.duplicate_links()
    if releasing.group_by == "channel":
        links |= channel_links({key: source.channel_of(key) for key in found.by_video})
    groups = group_videos(list(found.by_video), links)
    known = {**found.cuts(releasing, decided), **decided}
    drawn = draw_splits(groups, releasing.ordered_splits, found.by_video, known)
    return groups, dict(sorted(drawn.items()))  # whether they are drawn or remembered, in the same order
