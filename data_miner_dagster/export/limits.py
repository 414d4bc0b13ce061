"""Derive a release's limits, such as too few boxes or one dominant video or channel, from its own numbers.

Belongs here: deriving these limits from the manifest and the videos. Does not belong here: limits that every release
has, which are in the templates.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from data_miner_dagster.domain.splits import cut_of
from data_miner_dagster.export.manifest import NOT_FOLLOWED
from data_miner_dagster.export.records import ReleaseVideo

LARGE_VIDEO: Final = 0.25
"""A video with at least this share of the images is mentioned."""
LARGE_CHANNEL: Final = 0.5
"""The largest channel is mentioned if it has at least this share of all images, from several videos, or of the images
in a split other than the first."""
FEW_BOXES: Final = 100
"""A class with fewer boxes is mentioned. A detector learns little from so few, and a share measured on a tenth of them
is uncertain."""
FEW_IMAGES: Final = 50
"""A split with fewer images is mentioned, unless it is the first. Measurements on it are uncertain by ten points or
more."""
_MOST_NAMED: Final = 10


def limits_of(
    release: Mapping[str, Any],
    videos: Sequence[ReleaseVideo],
    boxes_by_split: Mapping[str, Mapping[str, int]] | None = None,
) -> list[str]:
    """Return the limits of a release, one sentence each, without a full stop.

    Args:
        release: the content of the release's manifest.
        videos: the videos with at least one image in the release.
        boxes_by_split: the number of boxes by split and class, or None if it is unknown.
    """
    return [
        *_of_videos(release, videos),
        *_of_following(release, videos),
        *_of_channels(release, videos),
        *_of_splits(release),
        *_of_classes(release, boxes_by_split or {}),
    ]


def _of_videos(release: Mapping[str, Any], videos: Sequence[ReleaseVideo]) -> Iterator[str]:
    if len(videos) == 1:
        yield "all images come from one video"
        return
    for video in sorted(videos, key=lambda video: (-video.num_images, video.video_key))[:_MOST_NAMED]:
        share = _share(video.num_images, release["num_images"])
        if share >= LARGE_VIDEO:
            yield f"one video provides {share:.0%} of the images: {video.video_key}"


def _of_following(release: Mapping[str, Any], videos: Sequence[ReleaseVideo]) -> Iterator[str]:
    lost = frozenset(release.get(NOT_FOLLOWED, ()))
    keys = [video.video_key for video in videos if video.video_key in lost]
    if keys:
        more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
        names = ", ".join(sorted(keys)[:_MOST_NAMED])
        yield f"objects could not be followed in {_counted(len(keys), 'video')}, so no box was recovered: {names}{more}"


def _of_channels(release: Mapping[str, Any], videos: Sequence[ReleaseVideo]) -> Iterator[str]:
    known = [video for video in videos if video.channel]
    if len(videos) > 1 and len(known) == len(videos) and len({video.channel for video in known}) == 1:
        yield f"all images come from one channel, {known[0].channel}"
        return
    images = Counter[str]()
    by_split: dict[str, Counter[str]] = {}
    for video in known:
        images[str(video.channel)] += video.num_images
        if not cut_of(video.split):
            by_split.setdefault(video.split, Counter())[str(video.channel)] += video.num_images
    num_videos = Counter(video.channel for video in known)
    for channel, number in images.most_common(1):
        share = _share(number, release["num_images"])
        if share >= LARGE_CHANNEL and num_videos[channel] > 1:
            yield f"one channel provides {share:.0%} of the images: {channel}"
    for split in release["splits"]["shares"]:
        for channel, number in by_split.get(split, Counter()).most_common(1):
            share = _share(number, release["images_by_split"][split])
            if share >= LARGE_CHANNEL and split != next(iter(release["splits"]["shares"])):
                yield f"one channel provides {share:.0%} of the images in {split}: {channel}"


def _of_splits(release: Mapping[str, Any]) -> Iterator[str]:
    for split in list(release["splits"]["shares"])[1:]:
        number = release["images_by_split"][split]
        if not number:
            yield f"{split} has no image"
        elif number < FEW_IMAGES:
            yield f"{split} has {_counted(number, 'image')}, so measurements on it are uncertain by ten points or more"
    for group in release["splits"].get("divided_groups", ()):
        yield f"near-duplicates are in different splits: {', '.join(group)}"
    for key in release["splits"].get("gaps_as_before", ()):
        yield f"guard_seconds is longer than a block of {key}, so this video keeps its earlier gaps"


def _of_classes(release: Mapping[str, Any], boxes_by_split: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for name in release["classes"]:
        number = release["boxes_by_class"][name]
        if not number:
            yield f"the class {name} has no box"
            continue
        if number < FEW_BOXES:
            yield f"the class {name} has {_counted(number, 'box', 'boxes')}"
        absent = [
            split
            for split, boxes in boxes_by_split.items()
            if release["images_by_split"][split] and not boxes.get(name)
        ]
        if absent:
            yield f"the class {name} has no box in {' and '.join(absent)}"


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
