"""Masks: the pixels of a picture that belong to an object, stored as COCO's run lengths.

Belongs here: the record, and values that can be derived from it alone. Does not belong here: polygons (export/),
drawing (media/).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_masks

from data_miner_dagster.domain.box_shares import BoxXyxy

MaskPixels = npt.NDArray[np.bool_]
"""(H, W) booleans: True for the pixels of an object."""


@dataclass(frozen=True, slots=True)
class Mask:
    """The pixels of one object. `counts` are COCO's compressed run lengths, column by column.

    The encoding is unique: masks are equal if and only if their pixels are.
    """

    resolution_wh: tuple[int, int]  # the width and height of the picture
    counts: str

    @classmethod
    def of(cls, pixels: MaskPixels) -> Self:
        """Return the mask for the (H, W) booleans of a whole picture."""
        return cls.of_region(pixels, left_top=(0, 0), resolution_wh=(pixels.shape[1], pixels.shape[0]))

    @classmethod
    def of_region(cls, pixels: MaskPixels, *, left_top: tuple[int, int], resolution_wh: tuple[int, int]) -> Self:
        """Return the mask of a picture in which the object lies inside a region. The cost depends only on the region.

        Args:
            pixels: the (height, width) booleans of the region.
            left_top: the x and y of the region's upper left corner in the picture.
            resolution_wh: the width and height of the whole picture.

        Raises:
            ValueError: the region is not inside the picture.
        """
        (height, width), (left, top), (picture_width, picture_height) = pixels.shape, left_top, resolution_wh
        if not (0 <= left <= picture_width - width and 0 <= top <= picture_height - height):
            size = f"{picture_width}x{picture_height}"
            raise ValueError(f"a region of {width}x{height} at {left},{top} is not inside a picture of {size}")
        columns = np.zeros((width, height + 1), np.int8)  # an empty bottom row ends every run before the next column
        columns[:, :height] = pixels.T
        column, row = np.divmod(np.flatnonzero(np.diff(columns.ravel(), prepend=0)).reshape(-1, 2), height + 1)
        runs = (column[:, :1] + left) * picture_height + row + top
        # A run down to the lower edge of the picture continues in the next column.
        bounds, occurrences = np.unique(runs, return_counts=True)
        area = picture_width * picture_height
        counts = np.diff(bounds[(occurrences == 1) & (bounds < area)], prepend=0, append=area)
        rle = coco_masks.frPyObjects(
            {"size": [picture_height, picture_width], "counts": counts.tolist()}, picture_height, picture_width
        )
        return cls(resolution_wh, rle["counts"].decode("ascii"))

    @classmethod
    def from_coco(cls, rle: Mapping[str, Any]) -> Self:
        """Return the mask from `{"size": [height, width], "counts": "..."}`, the form that COCO and tables use."""
        height, width = rle["size"]
        return cls((int(width), int(height)), str(rle["counts"]))

    def run_lengths(self) -> list[int]:
        """Return the lengths of the runs in COCO's uncompressed form, starting with pixels outside the object.

        Source: rleFrString of pycocotools (common/maskApi.c): five bits per character. From the fourth count on, the
        value is the difference from the count two positions before.
        """
        runs: list[int] = []
        value = shift = 0
        for letter in self.counts:
            bits = ord(letter) - 48
            value |= (bits & 31) << shift
            shift += 5
            if bits & 32:
                continue
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
        return runs

    def as_coco(self) -> dict[str, Any]:
        """Return `{"size": [height, width], "counts": "..."}`, the form that COCO and tables use."""
        return {"size": [self.resolution_wh[1], self.resolution_wh[0]], "counts": self.counts}

    def pixels(self) -> MaskPixels:
        """Return (H, W) booleans for the whole picture: True for the pixels of the object."""
        return self._columns(0, self.resolution_wh[0])

    def region(self) -> tuple[MaskPixels, tuple[int, int]]:
        """Return the pixels of the smallest box around the object, and the x and y of its upper left corner.

        An empty mask has a region without pixels at (0, 0).
        """
        left, top, right, bottom = map(int, self.bounds_xyxy or (0, 0, 0, 0))
        return self._columns(left, right)[top:bottom], (left, top)

    def _columns(self, left: int, right: int) -> MaskPixels:
        """Return the pixels of the columns from `left` (inclusive) to `right` (exclusive). Other columns must be empty.

        pycocotools is not used: its `decode` triggers numpy's warnings and allocates a whole picture for each mask.
        """
        height = self.resolution_wh[1]
        counts = self._run_lengths()
        counts[0] -= left * height
        counts[-1] -= (self.resolution_wh[0] - right) * height if len(counts) % 2 else 0
        is_object = np.arange(len(counts)) % 2 == 1
        return np.repeat(is_object, counts).reshape(right - left, height).T

    def _run_lengths(self) -> npt.NDArray[np.int64]:
        """Return the lengths of the runs, starting with pixels outside the object.

        Source: `rleFrString` of COCO's maskApi.c. A length is stored in groups of five bits, the lowest first. A sixth
        bit indicates that more groups follow, and the fifth bit of the last group is the sign. From the fourth length
        on, the value is the difference from the length two positions before.
        """
        codes = np.frombuffer(self.counts.encode("ascii"), np.uint8).astype(np.int64) - 48
        lasts = np.flatnonzero(codes & 0x20 == 0)
        firsts = np.append(0, lasts[:-1] + 1)
        places = 5 * (np.arange(len(codes)) - np.repeat(firsts, lasts - firsts + 1))
        values = np.add.reduceat((codes & 0x1F) << places, firsts)
        values -= np.where(codes[lasts] & 0x10, 1 << (places[lasts] + 5), 0)
        for first in (1, 2):
            values[first::2] = values[first::2].cumsum()
        return values

    @property
    def area(self) -> int:
        """The number of pixels of the object."""
        return int(coco_masks.area(self.as_coco()))

    @property
    def bounds_xyxy(self) -> BoxXyxy | None:
        """The smallest box around the object, in absolute pixels, or None if the mask is empty."""
        left, top, width, height = coco_masks.toBbox(self.as_coco()).tolist()
        return (left, top, left + width, top + height) if width and height else None

    def is_of(self, box_xyxy: BoxXyxy) -> bool:
        """Return whether a box equals the bounds of the mask, to within a pixel in each coordinate."""
        bounds = self.bounds_xyxy
        return bounds is not None and all(abs(one - other) <= 1 for one, other in zip(bounds, box_xyxy, strict=True))

    def moved(self, left_top: tuple[int, int], resolution_wh: tuple[int, int]) -> "Mask":
        """Return this mask in a larger picture, with the upper left corner of its own picture at `left_top`.

        If both pictures have the same size, the mask is returned unchanged.

        Raises:
            ValueError: the object is not inside the larger picture.
        """
        if resolution_wh == self.resolution_wh:
            return self
        pixels, (left, top) = self.region()
        return Mask.of_region(pixels, left_top=(left + left_top[0], top + left_top[1]), resolution_wh=resolution_wh)


def mask_iou(one: Mask, other: Mask) -> float:
    """Return the intersection over union of two masks of the same picture, or 0 if both are empty."""
    iou = float(coco_masks.iou([one.as_coco()], [other.as_coco()], [0])[0, 0])
    return iou if np.isfinite(iou) else 0.0
