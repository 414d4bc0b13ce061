"""What a split is for, and what each format calls it: the one place that says so."""

from typing import Final

TRAIN_SPLIT: Final = "train"

_ROLE_BY_NAME: Final = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_HUB_NAMES: Final = {"train": "train", "val": "validation", "test": "test"}


def split_role(name: str) -> str:
    """Return "train", "val" or "test" for a name by which tools know it; any other name, in lower case, is a role.

    Splits of one role are one split to somebody: to a trainer, to `datasets`, or to a file system that takes `Val` and
    `val` for the same folder.
    """
    return _ROLE_BY_NAME.get(name.lower(), name.lower())


def yolo_name(name: str) -> str:
    """Return the key of a split in YOLO's `data.yaml`: trainers look for `train`, `val` and `test`."""
    role = split_role(name)
    return role if role in _HUB_NAMES else name


def hub_name(name: str) -> str:
    """Return the name of a split for Hugging Face's `datasets`, which says `validation`."""
    return _HUB_NAMES.get(split_role(name), name)
