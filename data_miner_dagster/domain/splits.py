"""The role of each split, its name in each format, and the notation for a video that is divided between splits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TRAIN_SPLIT: Final = "train"

_ROLE_BY_NAME: Final = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_FOLD: Final = re.compile(r"fold_[1-9][0-9]*")
_BLOCK: Final = re.compile(r"([A-Za-z0-9_]+) ([0-9]+\.[0-9]{3})-(-?[0-9]+\.[0-9]{3}|end)")
_HUB_NAMES: Final = {"train": "train", "val": "validation", "test": "test"}


def split_role(name: str) -> str:
    """Return the role of a split by its name ("train", "val" or "test"), or the name in lower case if it has no role.

    Some readers treat splits with the same role as one split: trainers, `datasets`, and file systems that do not
    distinguish `Val` from `val`.
    """
    return _ROLE_BY_NAME.get(name.lower(), name.lower())


def yolo_name(name: str) -> str:
    """Return the key of a split in YOLO's `data.yaml`, where trainers expect `train`, `val` and `test`."""
    role = split_role(name)
    return role if role in _HUB_NAMES else name


def hub_name(name: str) -> str:
    """Return the name of a split for Hugging Face's `datasets`, where `val` is called `validation`."""
    return _HUB_NAMES.get(split_role(name), name)


def fold_name(number: int) -> str:
    """Return the name of a fold's split, such as `fold_1`. Folds are counted from 1."""
    return f"fold_{number}"


def folds_among(splits: Sequence[str]) -> tuple[str, ...]:
    """Return the splits that are folds, in order, or an empty tuple if there is a training split."""
    return () if TRAIN_SPLIT in splits else tuple(split for split in splits if _FOLD.fullmatch(split))


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a video that belongs to one split: from `start_seconds` (inclusive) to `stop_seconds` (exclusive)."""

    split: str
    start_seconds: float
    stop_seconds: float | None  # or None for the end of the video


def text_of_cut(blocks: Sequence[Block]) -> str:
    """Return the text that describes a video's blocks. It is stored in place of the name of a split."""
    stops = ("end" if block.stop_seconds is None else f"{block.stop_seconds:.3f}" for block in blocks)
    return ", ".join(
        f"{block.split} {block.start_seconds:.3f}-{stop}" for block, stop in zip(blocks, stops, strict=True)
    )


def cut_of(split: str) -> tuple[Block, ...]:
    """Return the blocks that a stored text describes, or an empty tuple if the text is the name of a split."""
    found = [_BLOCK.fullmatch(part) for part in split.split(", ")]
    return tuple(
        Block(match[1], float(match[2]), None if match[3] == "end" else float(match[3])) for match in found if match
    )


def split_at(split: str, pts_seconds: float) -> str | None:
    """Return the split that the stored text of a video gives for a time, or None if no block contains the time.

    A time before the first block counts as a part of that block.
    """
    blocks = cut_of(split)
    if not blocks:
        return split
    for position, block in enumerate(blocks):  # a time before the first block counts as a part of it
        has_begun = position == 0 or block.start_seconds <= pts_seconds
        if has_begun and (block.stop_seconds is None or pts_seconds < block.stop_seconds):
            return block.split
    return None


def splits_in(split: str) -> tuple[str, ...]:
    """Return the splits that a video belongs to, given its stored text: one split, or the split of each block."""
    return tuple(block.split for block in cut_of(split)) or (split,)


def differ_in_gaps_alone(before: str, after: str) -> bool:
    """Return whether two stored texts differ, but divide a video into blocks with the same splits and start times.

    Such a difference moves no image from one split to another.
    """
    old, new = cut_of(before), cut_of(after)
    starts = [[(block.split, block.start_seconds) for block in blocks] for blocks in (old, new)]
    return bool(old) and before != after and starts[0] == starts[1]
