"""Types for example images, which describe prompts and classes in addition to words or instead of them.

Belongs here: types and checks that all sections with `images` share. Does not belong here: the effect of the images,
which each section documents.
"""

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints

from data_miner_dagster.domain.object_urls import is_object_address

MAX_EXEMPLARS: Final = 64


def _outside_buckets(path: str) -> str:
    if is_object_address(path):
        raise ValueError(f"{path} is in a bucket, but exemplars must be local files; download it first")
    return path


ImagePath = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_outside_buckets)]
"""The path of a picture, absolute or relative to the project file."""


def check_named_once(paths: Sequence[str], owner: str) -> None:
    """Check that no path occurs more than once in the `images` of the prompt or class `owner`.

    Raises:
        ValueError: a path occurs more than once.
    """
    if repeated := [path for path in paths if paths.count(path) > 1]:
        raise ValueError(f"`images` of {owner!r} names {repeated[0]} more than once; keep one")
