"""The layout of a stored thumbnail, which deduplication uses to compare two frames of the same view."""

from typing import Final

LUMA_WH: Final = (64, 36)
"""The width and height of the luma plane.

Every picture is stretched to this size. This is harmless, since frames of the same view have the same aspect ratio.
"""
CHROMA_WH: Final = (32, 18)
"""The width and height of each of the two chroma planes, Cr and Cb."""
NUM_LUMA: Final = LUMA_WH[0] * LUMA_WH[1]
NUM_CHROMA: Final = CHROMA_WH[0] * CHROMA_WH[1]
NUM_VALUES: Final = NUM_LUMA + 2 * NUM_CHROMA
"""The number of bytes of a thumbnail: luma, then Cr, then Cb, each row by row."""
