"""Determine the videos that must share a split, and merge the splits of earlier releases."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise


def group_videos(video_keys: Sequence[str], links: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return the groups of videos that must share a split. Each group is sorted. Groups are ordered by their first key.

    A link joins two videos that contain near-duplicates of each other or come from one channel. A chain of links is one
    group. A link may name a video of another project, which is not in `video_keys`. Such a video connects its
    neighbours but is not returned.
    """
    parents: dict[str, str] = {key: key for key in video_keys}

    def root_of(key: str) -> str:
        parents.setdefault(key, key)
        while parents[key] != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    for first, second in links:
        roots = sorted((root_of(first), root_of(second)))
        parents[roots[1]] = roots[0]
    members: dict[str, list[str]] = {}
    for key in sorted(set(video_keys)):
        members.setdefault(root_of(key), []).append(key)
    return sorted(tuple(group) for group in members.values())


def channel_links(channels: Mapping[str, str | None]) -> set[tuple[str, str]]:
    """Return links that join all videos of each channel. A video whose channel is unknown has no link.

    Args:
        channels: the channel of each video, by video key.
    """
    by_channel: dict[str, list[str]] = {}
    for key, channel in sorted(channels.items()):
        if channel:
            by_channel.setdefault(channel, []).append(key)
    return {link for keys in by_channel.values() for link in pairwise(keys)}


def divided_groups(groups: Sequence[tuple[str, ...]], splits: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the groups that are spread over several splits. Their test images may resemble training images."""
    return [group for group in groups if len({splits[key] for key in group}) > 1]


def merge_splits(releases: Sequence[Mapping[str, str]], order: Sequence[str]) -> dict[str, str]:
    """Return one split per video, merged from releases (oldest first) that may contradict each other.

    The newest release decides for its own videos. Any other video gets the earliest split in `order` that it ever had.
    A single split takes precedence over a cut of the video into several. The training split is first in `order`, so for
    these videos, training takes precedence over testing.
    """
    rank = {split: position for position, split in enumerate(order)}
    merged: dict[str, str] = {}
    for splits in releases:
        for key, split in splits.items():
            merged[key] = min(merged.get(key, split), split, key=lambda name: rank.get(name, len(rank)))
    return {**merged, **(releases[-1] if releases else {})}


def position_of(group: tuple[str, ...]) -> int:
    """Return a pseudo-random number for a group, which orders groups that are otherwise equal.

    The number is derived from one video of the group, the speaker, and changes only if another video becomes the
    speaker. It does not depend on the alphabetical order of the videos, so names do not favour a split.
    """
    # The speaker and the position use different hashes. With one hash, the minimum over several keys would tend to be
    # low.
    speaker = min(group, key=lambda key: hashlib.sha256(f"speaker:{key}".encode()).digest())
    return int.from_bytes(hashlib.sha256(f"split:{speaker}".encode()).digest()[:7], "big")
