"""The layout of a stored thumbnail: what deduplication compares two frames of one view by."""

from typing import Final

LUMA_WH: Final = (64, 36)
"""Width and height of the luma plane. Every picture is stretched to it, since two frames of one view have one shape."""
CHROMA_WH: Final = (32, 18)
"""Width and height of each of the two planes of colour, Cr and Cb."""
NUM_LUMA: Final = LUMA_WH[0] * LUMA_WH[1]
NUM_CHROMA: Final = CHROMA_WH[0] * CHROMA_WH[1]
NUM_VALUES: Final = NUM_LUMA + 2 * NUM_CHROMA
"""Bytes of a thumbnail: luma, then Cr, then Cb, each row by row."""
