"""Results from an annotation tool: the boxes of an image, and what the tool says about the annotator.

Belongs here: the records. Does not belong here: reading a tool's file (export/), or turning it into verdicts
(stages/reviewing/corrections.py).
"""

import math
from dataclasses import dataclass
from datetime import datetime

from data_miner_dagster.domain.verdicts import RelativeBox


@dataclass(frozen=True, slots=True)
class ReturnedBox:
    """One box of a returned image. `box_id` is the name it went out with, None or foreign for a box that was drawn.

    Raises:
        ValueError: a coordinate is not finite.
    """

    class_name: str
    box: RelativeBox  # may extend beyond the picture
    box_id: str | None = None
    is_undecided: bool = False  # still marked as a region to ignore

    def __post_init__(self) -> None:
        """Refuse values from a damaged file."""
        if not all(map(math.isfinite, self.box)):
            raise ValueError(f"the box {self.box} has a corner that is not finite")


@dataclass(frozen=True, slots=True)
class ReturnedImage:
    """One image as a tool returns it.

    Attributes:
        name: the file, as the tool calls it: a path or an address that ends in the path below `images/`.
        boxes: the boxes.
        is_reviewed: whether a person has examined the whole image; None if the tool does not say.
        frame_id: the frame, if the tool kept it.
        who: the annotator, if the tool says so.
        given_at: when the annotator finished, if the tool says so.
        unusable: anything on the image that is not an upright box with one label, as a phrase.

    Raises:
        ValueError: the frame is not text.
    """

    name: str
    boxes: tuple[ReturnedBox, ...] = ()
    is_reviewed: bool | None = None
    frame_id: str | None = None
    who: str | None = None
    given_at: datetime | None = None
    unusable: str | None = None

    def __post_init__(self) -> None:
        """Refuse values from a damaged file."""
        if self.frame_id is not None and not isinstance(self.frame_id, str):
            raise ValueError(f"frame_id {self.frame_id!r} is not text")
