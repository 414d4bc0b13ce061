"""Compare two releases of a project."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.splits import differ_in_gaps_alone
from data_miner_dagster.export.parquet import read_images, read_videos
from data_miner_dagster.export.records import ReleaseImage

_COMPARED_SECTIONS = ("classes", "prompts", "duplicates", "models", "config")


_SAID_TWICE = ("config.filtering.positive", "config.filtering.negative", "config.filtering.junk")
"""Settings that are not compared, since `prompts` lists the same prompts with their effective thresholds."""


@dataclass(frozen=True, slots=True)
class ReleaseDifference:
    """The differences between the releases `before` and `after`. Videos and settings are sorted."""

    before: str
    after: str
    num_images_added: int
    num_images_removed: int
    num_images_kept: int
    num_images_relabelled: int  # kept, with different boxes
    boxes_by_class: dict[str, tuple[int, int]]  # before, after
    videos_added: tuple[str, ...]
    videos_removed: tuple[str, ...]
    videos_moved: tuple[tuple[str, str, str], ...]  # key, split (or cut) when last released, split now
    settings: tuple[tuple[str, str, str], ...]  # name, before, after

    @property
    def as_line(self) -> str:
        """The differences as a single line, without the settings and the added and removed videos."""
        boxes = sum(after - before for before, after in self.boxes_by_class.values())
        num_changed = self.num_images_added + self.num_images_removed + self.num_images_relabelled
        if not (num_changed or boxes or self.videos_moved):
            return f"against {self.before}: the same images and boxes"
        num_gaps = sum(differ_in_gaps_alone(before, after) for _, before, after in self.videos_moved)
        num_moved = len(self.videos_moved) - num_gaps
        moved = f", {counted(num_moved, 'video')} in another split" if num_moved else ""
        moved += f", other gaps between the splits of {counted(num_gaps, 'video')}" if num_gaps else ""
        return (
            f"against {self.before}: +{self.num_images_added:,} −{self.num_images_removed:,} images, "
            f"{self.num_images_relabelled:,} relabelled, {boxes:+,} {'box' if abs(boxes) == 1 else 'boxes'}{moved}"
        )


def compare_releases(
    before: Path,
    before_content: Mapping[str, Any],
    after: Path,
    after_content: Mapping[str, Any],
    *,
    last_splits: Mapping[str, str] | None = None,
) -> ReleaseDifference:
    """Return the differences between two releases, reading their images as streams.

    Args:
        before: the folder of the earlier release.
        before_content: the content of the earlier release's manifest.
        after: the folder of the later release. Its `data/` tables must exist.
        after_content: the content of the later release's manifest, which may not be written yet.
        last_splits: the split of each video in the last release that contained it, which may be older than `before`. If
            it is None, the splits of `before` are used.

    Raises:
        DataMinerError: a table of a release is damaged.
    """
    added = removed = kept = relabelled = 0
    for old, new in _side_by_side(read_images(before), read_images(after)):
        if old is None:
            added += 1
        elif new is None:
            removed += 1
        else:
            kept += 1
            relabelled += old.boxes != new.boxes
    names = list(after_content["classes"])
    names += [name for name in before_content["classes"] if name not in names]
    old_splits = {video.video_key: video.split for video in read_videos(before)}
    new_splits = {video.video_key: video.split for video in read_videos(after)}
    were = old_splits if last_splits is None else last_splits
    return ReleaseDifference(
        before=before_content["version"],
        after=after_content["version"],
        num_images_added=added,
        num_images_removed=removed,
        num_images_kept=kept,
        num_images_relabelled=relabelled,
        boxes_by_class={
            name: (before_content["boxes_by_class"].get(name, 0), after_content["boxes_by_class"].get(name, 0))
            for name in names
        },
        videos_added=tuple(sorted(new_splits.keys() - old_splits.keys())),
        videos_removed=tuple(sorted(old_splits.keys() - new_splits.keys())),
        videos_moved=tuple(
            (key, were[key], new_splits[key])
            for key in sorted(were.keys() & new_splits.keys())
            if were[key] != new_splits[key]
        ),
        settings=tuple(_changed_settings(before_content, after_content)),
    )


def _side_by_side(
    before: Iterator[ReleaseImage], after: Iterator[ReleaseImage]
) -> Iterator[tuple[ReleaseImage | None, ReleaseImage | None]]:
    """Yield (before, after) pairs of the same image, with None for a release that lacks the image.

    Both streams must be in order of (video key, frame index).
    """
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        old_place = (old.video_key, old.frame_index) if old else None
        new_place = (new.video_key, new.frame_index) if new else None
        if new_place is None or (old_place is not None and old_place < new_place):
            yield old, None
            old = next(before, None)
        elif old_place is None or new_place < old_place:
            yield None, new
            new = next(after, None)
        else:
            yield old, new
            old, new = next(before, None), next(after, None)


def _changed_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    old = _flat({name: before.get(name) for name in _COMPARED_SECTIONS})
    new = _flat({name: after.get(name) for name in _COMPARED_SECTIONS})
    for name in sorted(old.keys() | new.keys()):
        if name.startswith(_SAID_TWICE):
            continue
        if old.get(name) != new.get(name):
            yield name, _shown(old.get(name)), _shown(new.get(name))


def _flat(content: object, prefix: str = "") -> dict[str, object]:
    if isinstance(content, Mapping):
        flat: dict[str, object] = {}
        for name, value in content.items():
            flat |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
        return flat
    if isinstance(content, list | tuple) and any(isinstance(value, Mapping) for value in content):
        # Prompts are named by text and models by role, so that a new first entry does not change the later ones.
        named = {str(value.get("text", value.get("role", index))): value for index, value in enumerate(content)}
        return _flat(named, prefix)
    return {prefix: list(content) if isinstance(content, tuple) else content}


def _shown(value: object) -> str:
    if value is None:
        return "–"
    return ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)
