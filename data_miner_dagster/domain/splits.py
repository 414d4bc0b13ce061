"""The role of each split and its name in each format, defined in one place; how a video cut in time is written."""

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
    """Return "train", "val" or "test" for a name that tools use for it; any other name is its own role, in lower case.

    Some reader treats splits with the same role as one: a trainer, `datasets`, or a file system that does not
    distinguish `Val` from `val`.
    """
    return _ROLE_BY_NAME.get(name.lower(), name.lower())


def yolo_name(name: str) -> str:
    """Return the key of a split in YOLO's `data.yaml`: trainers expect `train`, `val` and `test`."""
    role = split_role(name)
    return role if role in _HUB_NAMES else name


def hub_name(name: str) -> str:
    """Return the name of a split for Hugging Face's `datasets`, which uses `validation`."""
    return _HUB_NAMES.get(split_role(name), name)


def fold_name(number: int) -> str:
    """Return the split of one fold, counted from 1."""
    return f"fold_{number}"


def folds_among(splits: Sequence[str]) -> tuple[str, ...]:
    """Return the splits that are folds, in order; empty if there is a training split."""
    return () if TRAIN_SPLIT in splits else tuple(split for split in splits if _FOLD.fullmatch(split))


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of one video that goes to one split: from `start_seconds` up to, but not at, `stop_seconds`."""

    split: str
    start_seconds: float
    stop_seconds: float | None  # None: to the end


def text_of_cut(blocks: Sequence[Block]) -> str:
    """Return blocks in the form that replaces the split of a whole video."""
    stops = ("end" if block.stop_seconds is None else f"{block.stop_seconds:.3f}" for block in blocks)
    return ", ".join(
        f"{block.split} {block.start_seconds:.3f}-{stop}" for block, stop in zip(blocks, stops, strict=True)
    )


def cut_of(split: str) -> tuple[Block, ...]:
    """Return the blocks of a video that is cut in time; empty if the text is the name of a split."""
    found = [_BLOCK.fullmatch(part) for part in split.split(", ")]
    return tuple(
        Block(match[1], float(match[2]), None if match[3] == "end" else float(match[3])) for match in found if match
    )


def split_at(split: str, pts_seconds: float) -> str | None:
    """Return the split of a time in a video, given the video's; None in a gap between two blocks."""
    blocks = cut_of(split)
    if not blocks:
        return split
    for position, block in enumerate(blocks):  # anything before the first block belongs to it
        has_begun = position == 0 or block.start_seconds <= pts_seconds
        if has_begun and (block.stop_seconds is None or pts_seconds < block.stop_seconds):
            return block.split
    return None


def splits_in(split: str) -> tuple[str, ...]:
    """Return the splits that a video is in, from the stored text."""
    return tuple(block.split for block in cut_of(split)) or (split,)


def differ_in_gaps_alone(before: str, after: str) -> bool:
    """Return whether two texts are cuts of a video whose blocks begin alike: no image is in another split."""
    old, new = cut_of(before), cut_of(after)
    starts = [[(block.split, block.start_seconds) for block in blocks] for blocks in (old, new)]
    return bool(old) and before != after and starts[0] == starts[1]
