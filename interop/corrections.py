"""Correct labels as a simulated person would. Each check uses this in its own environment, so it imports no package."""

import json
import sys
from pathlib import Path


def arguments():
    """Create the folder `returned`, and return the work folder and the facts of both exports."""
    work = Path(sys.argv[1])
    (work / "returned").mkdir()
    return work, json.loads((work / "facts.json").read_text())


def expect(what, found, wanted):
    """End the check with a message if `found` differs from `wanted`."""
    if found != wanted:
        sys.exit(f"{what}: found {found!r}, expected {wanted!r}")


def near(one, other, tolerance):
    """Return whether the corners of two boxes, in pixels, differ by at most `tolerance`."""
    return len(one) == len(other) and all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def corrected(boxes, truth):
    """Yield the corrected boxes as (index of the original or None if new, class name, corners or None if unchanged)."""
    left = [tuple(map(_tuple, box)) for box in truth]
    for number, (class_name, corners, *_) in enumerate(boxes):
        best = max(
            (box for box in left if box[0] == class_name), key=lambda box: overlap(box[1], corners), default=None
        )
        if best is not None and overlap(best[1], corners) > 0.3:
            left.remove(best)
            yield number, class_name, None if near(best[1], corners, 0.01) else best[1]
    for class_name, corners in left:
        yield None, class_name, corners


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value


def overlap(one, other):
    """Return the IoU of two boxes."""
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (both - width * height)
