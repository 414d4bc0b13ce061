"""The colours of an object in a picture, as a histogram that can be compared.

Belongs here: the type of a histogram, and the distance between two histograms. Does not belong here: measuring pixels
(media/box_colours.py).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Colours = npt.NDArray[np.uint8]
"""Shape (144,): the square root of each HSV bin's share of pixels, times 255 (12 hues x 3 saturations x 4 values)."""
NUM_COLOUR_BINS: Final = 144


def unit_colours(colours: Colours | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return stored colours, shape (K,), scaled to Euclidean length 1. A vector of zeros stays unchanged."""
    vector: npt.NDArray[np.float64] = colours.astype(np.float64)
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def colour_distance(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Return the Hellinger distance between two vectors from `unit_colours`: 0 if equal, 1 if they share no bin."""
    return float(np.sqrt(max(0.0, 1.0 - float(first @ second))))
