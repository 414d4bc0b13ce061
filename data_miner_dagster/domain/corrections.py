"""The contents of a file from an annotation tool: the boxes of each image, and information about the annotator.

Belongs here: the records. Does not belong here: reading a tool's file (export/), or turning it into verdicts
(stages/reviewing/corrections.py).
"""

import math
from dataclasses import dataclass
from datetime import datetime

from data_miner_dagster.domain.verdicts import RelativeBox


@dataclass(frozen=True, slots=True)
class ReturnedBox:
    """One box of a returned image. `box_id` is the id of the exported box; a newly drawn box has None or a foreign id.

    Raises:
        ValueError: a coordinate is not finite.
    """

    class_name: str
    box: RelativeBox  # may extend beyond the picture
    box_id: str | None = None
    is_undecided: bool = False  # still marked as a region to ignore

    def __post_init__(self) -> None:
        """Reject coordinates that are not finite, which a damaged file may contain."""
        if not all(map(math.isfinite, self.box)):
            raise ValueError(f"a coordinate is not a finite number in the box {self.box}")


@dataclass(frozen=True, slots=True)
class ReturnedImage:
    """One image as a tool returns it.

    Attributes:
        name: the file's name in the tool: a path or an address that ends with the file's path below `images/`.
        boxes: the boxes.
        is_reviewed: whether a person has examined the whole image, or None if the tool does not say.
        frame_id: the id of the frame, or None if the tool did not preserve it.
        who: the annotator, or None if unknown.
        given_at: when the annotator finished, or None if unknown.
        unusable: a phrase for a shape that is not an upright box with one label, or None if there is no such shape.

    Raises:
        ValueError: `frame_id` is not a string.
    """

    name: str
    boxes: tuple[ReturnedBox, ...] = ()
    is_reviewed: bool | None = None
    frame_id: str | None = None
    who: str | None = None
    given_at: datetime | None = None
    unusable: str | None = None

    def __post_init__(self) -> None:
        """Reject a frame id that is not a string, which a damaged file may contain."""
        if self.frame_id is not None and not isinstance(self.frame_id, str):
            raise ValueError(f"the frame id {self.frame_id!r} is not a string")
