"""The role of each split and its name in each format, defined in one place."""

from typing import Final

TRAIN_SPLIT: Final = "train"

_ROLE_BY_NAME: Final = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
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
