"""Decide, from the thumbnails of two frames, whether they show one fixed view in which something has changed.

Embeddings represent the place rather than small changes in it. Here the two pictures are compared pixel by pixel:

1. The lighting is removed: the mean of its surroundings is subtracted from each pixel, and the pair is scaled by one
   common factor.
2. The pair is *aligned* if enough textured blocks look the same and the camera neither moved nor zoomed. A step of
   Lucas and Kanade over those blocks estimates the motion.
3. It is *changed* if neighbouring pixels somewhere differ by more than the noise of the pair, and by more than an edge
   at that place could cause by moving a fraction of a pixel.

Only pairs that are both aligned and changed count as different. Between frames of two videos, the parts of a picture
where channels put logos, captions and clocks are ignored. Otherwise a re-upload with a logo would count as different.

The parameters were chosen on seeds 0 to 29 of `benchmarks.same_place`. docs/deduplication.md has figures for other
seeds. Sums run over the pixels of one pair at a time, so the result for a pair does not depend on other pairs.

Source: B. Lucas, T. Kanade, "An iterative image registration technique", IJCAI 1981.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.domain.thumbnails import CHROMA_WH, LUMA_WH, NUM_CHROMA, NUM_LUMA
from data_miner_dagster.stages.deduplication.cosines import BoolArray, IntArray

ThumbnailArray = npt.NDArray[np.uint8]

_LUMA_WINDOW: Final = 15  # pixels; about a quarter of the picture's width
_CHROMA_WINDOW: Final = 7
_GREATEST_GAIN: Final = 2.0

_BLOCK_HW: Final = (6, 8)
_TEXTURED_LEVELS: Final = 4.0  # root mean square of a block, minus the mean of its surroundings
_LEVELS_OF_NOISE: Final = 2.0
_SAME_CORRELATION: Final = 0.5
_LEAST_SHARE: Final = 0.25  # as a fraction of the textured blocks
_LEAST_BLOCKS: Final = 6
_GREATEST_MOTION: Final = 0.5  # pixels of the thumbnail: 0.8 % of the picture's width
_STIFFNESS: Final = 50.0  # keeps the estimated motion of pictures without texture near zero

_NOISE_CAP: Final = 10.0
_LUMA_LEVELS: Final = 8.0
_LUMA_NOISES: Final = 1.5
_CHROMA_LEVELS: Final = 5.0
_CHROMA_NOISES: Final = 2.0
_EDGE_SHARE: Final = 0.25  # as a fraction of the range of a pixel's neighbours

_OVERLAY_STRIP: Final = 0.13  # as a fraction of the height, at the top and bottom
_OVERLAY_CORNER_WH: Final = (0.22, 0.42)  # as fractions of width and height

_PAIRS_AT_ONCE: Final = 256
_TILE: Final = 16  # pairs of neighbouring rows are compared together, so work on a frame is reused for many pairs


@dataclass(frozen=True, slots=True)
class Views:
    """The thumbnails of frames, and the video of each frame, by row."""

    thumbnails: ThumbnailArray  # (N, NUM_VALUES)
    video_codes: IntArray  # (N,)

    def are_changed(self, rows: IntArray, others: IntArray) -> BoolArray:
        """Return a (P,) mask of the pairs that show one aligned view in which something changed."""
        is_changed = np.zeros(len(rows), np.bool_)
        is_within = self.video_codes[rows] == self.video_codes[others]
        for chosen, counted in ((is_within, _EVERYTHING), (~is_within, _INNER)):
            pairs = np.flatnonzero(chosen)
            pairs = pairs[np.lexsort((others[pairs] // _TILE, rows[pairs] // _TILE))]
            for start in range(0, len(pairs), _PAIRS_AT_ONCE):
                part = pairs[start : start + _PAIRS_AT_ONCE]
                is_changed[part] = _are_changed(self.thumbnails, rows[part], others[part], counted)
        return is_changed


# --- which pixels count ---


@dataclass(frozen=True, slots=True)
class _Counted:
    """Masks with 1 for the pixels that are compared, and 0 for those that are ignored."""

    luma: Float32Array
    chroma: Float32Array


def _inner(resolution_wh: tuple[int, int]) -> Float32Array:
    width, height = resolution_wh
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    from_side, from_end = np.minimum(x, 1 - x)[None, :], np.minimum(y, 1 - y)[:, None]
    is_corner = (from_side < _OVERLAY_CORNER_WH[0]) & (from_end < _OVERLAY_CORNER_WH[1])
    return np.asarray(~(is_corner | (from_end < _OVERLAY_STRIP)), np.float32)


_EVERYTHING: Final = _Counted(np.ones(LUMA_WH[::-1], np.float32), np.ones(CHROMA_WH[::-1], np.float32))
_INNER: Final = _Counted(_inner(LUMA_WH), _inner(CHROMA_WH))


# --- one set of pairs ---


@dataclass(frozen=True, slots=True)
class _Detail:
    """Image planes with the lighting removed: pixels minus their local means, and the range around each pixel (3x3)."""

    levels: Float32Array  # (N, H, W)
    ranges: Float32Array  # (N, H, W)

    def of(self, rows: IntArray) -> "_Detail":
        return _Detail(self.levels[rows], self.ranges[rows])


def _are_changed(thumbnails: ThumbnailArray, rows: IntArray, others: IntArray, counted: _Counted) -> BoolArray:
    frames, places = np.unique(np.concatenate([rows, others]), return_inverse=True)
    left, right = places[: len(rows)], places[len(rows) :]
    planes = thumbnails[frames].astype(np.float32)
    luma = _detail(planes[:, :NUM_LUMA].reshape(-1, *LUMA_WH[::-1]), counted.luma, _LUMA_WINDOW)
    one, other = _same_light(luma.of(left), luma.of(right))
    is_changed = _are_aligned(one.levels, other.levels)
    aligned = np.flatnonzero(is_changed)
    if not len(aligned):
        return is_changed
    is_changed[aligned] = _have_spots(one.of(aligned), other.of(aligned), _LUMA_LEVELS, _LUMA_NOISES, is_large=True)
    for start in (NUM_LUMA, NUM_LUMA + NUM_CHROMA):
        left_open = aligned[~is_changed[aligned]]
        if len(left_open):
            plane = planes[:, start : start + NUM_CHROMA].reshape(-1, *CHROMA_WH[::-1])
            colour = _detail(plane, counted.chroma, _CHROMA_WINDOW)
            is_changed[left_open] = _have_spots(
                colour.of(left[left_open]), colour.of(right[left_open]), _CHROMA_LEVELS, _CHROMA_NOISES, is_large=False
            )
    return is_changed


def _detail(planes: Float32Array, counted: Float32Array, window: int) -> _Detail:
    """Return each pixel minus the mean of the counted pixels around it, and the range of these values around it.

    Pixels that do not count are zero.
    """
    means = _window_sums(planes * counted, window) / np.maximum(_window_sums(counted[None], window), 1)
    levels = np.asarray((planes - means) * counted, np.float32)
    padded = np.pad(levels, ((0, 0), (1, 1), (1, 1)), mode="edge")
    highest = np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    highest = np.maximum(np.maximum(highest[..., :-2], highest[..., 1:-1]), highest[..., 2:])
    lowest = np.minimum(np.minimum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    lowest = np.minimum(np.minimum(lowest[..., :-2], lowest[..., 1:-1]), lowest[..., 2:])
    return _Detail(levels, np.asarray(highest - lowest, np.float32))


def _window_sums(planes: Float32Array, window: int) -> Float32Array:
    """Return the sum of the window around each pixel. Windows are clipped at the edges. Sums of integers are exact."""
    num, height, width = planes.shape
    sums = np.zeros((num, height + 1, width + 1), np.float32)
    np.cumsum(planes, axis=1, out=sums[:, 1:, 1:])
    np.cumsum(sums[:, 1:, 1:], axis=2, out=sums[:, 1:, 1:])
    half = window // 2
    top, bottom = np.maximum(np.arange(height) - half, 0), np.minimum(np.arange(height) + half + 1, height)
    left, right = np.maximum(np.arange(width) - half, 0), np.minimum(np.arange(width) + half + 1, width)
    strips = sums[:, bottom] - sums[:, top]
    return np.asarray(strips[..., right] - strips[..., left])


def _same_light(one: _Detail, other: _Detail) -> tuple[_Detail, _Detail]:
    """Return both details, scaled to the same contrast by factors of at most `_GREATEST_GAIN`.

    The contrast is measured where both details have the same sign, which is mainly in the unchanged parts.
    """
    agrees = one.levels * other.levels > 0
    strengths = [_sums(np.abs(each.levels) * agrees) + 1 for each in (one, other)]
    gain = np.sqrt(strengths[1] / strengths[0]).clip(1 / _GREATEST_GAIN, _GREATEST_GAIN)[:, None, None]
    return (
        _Detail(one.levels * gain, one.ranges * gain),
        _Detail(other.levels / gain, other.ranges / gain),
    )


def _sums(values: Float32Array) -> Float32Array:
    """Return the (P,) sums over the pixels of each pair. The order of addition does not depend on the other pairs."""
    return np.asarray(np.ascontiguousarray(values).reshape(len(values), -1).sum(axis=1))


def _are_aligned(one: Float32Array, other: Float32Array) -> BoolArray:
    """Return a (P,) mask of the pairs that show one view.

    In such a pair, enough of the view looks the same, and the camera neither moved nor zoomed.
    """
    energies = (_block_sums(one * one) + _block_sums(other * other)) / 2
    num_pixels = _BLOCK_HW[0] * _BLOCK_HW[1]
    is_textured = energies > num_pixels * _TEXTURED_LEVELS**2
    correlations = _block_sums(one * other) / (energies + num_pixels * _LEVELS_OF_NOISE**2 / 2)
    is_same = is_textured & (correlations > _SAME_CORRELATION)
    num_textured, num_same = is_textured.sum(axis=(1, 2)), is_same.sum(axis=(1, 2))
    is_aligned = (num_textured >= _LEAST_BLOCKS) & (num_same >= _LEAST_SHARE * num_textured)
    candidates = np.flatnonzero(is_aligned)
    if len(candidates):
        motion = _motions(one[candidates], other[candidates], is_same[candidates])
        is_aligned[candidates] = motion < _GREATEST_MOTION
    return np.asarray(is_aligned)


def _block_sums(values: Float32Array) -> Float32Array:
    num, height, width = values.shape
    blocks = values.reshape(num, height // _BLOCK_HW[0], _BLOCK_HW[0], width // _BLOCK_HW[1], _BLOCK_HW[1])
    ordered = np.ascontiguousarray(blocks.transpose(0, 1, 3, 2, 4))
    return np.asarray(ordered.reshape(*ordered.shape[:3], -1).sum(axis=3))


def _motions(one: Float32Array, other: Float32Array, is_same: BoolArray) -> Float32Array:
    """Return the (P,) distances in pixels by which shift and zoom move a point halfway between centre and edge."""
    _, height, width = one.shape
    middle, difference = (one + other) / 2, one - other
    across, down = np.zeros_like(middle), np.zeros_like(middle)
    across[:, :, 1:-1] = (middle[:, :, 2:] - middle[:, :, :-2]) / 2
    down[:, 1:-1] = (middle[:, 2:] - middle[:, :-2]) / 2
    weights = is_same.repeat(_BLOCK_HW[0], axis=1).repeat(_BLOCK_HW[1], axis=2)
    across, down = across * weights, down * weights
    x = ((np.arange(width) - (width - 1) / 2) / (width / 4)).astype(np.float32)[None, None, :]
    y = ((np.arange(height) - (height - 1) / 2) / (width / 4)).astype(np.float32)[None, :, None]
    slopes = (across, down, across * x + down * y)
    normal = np.empty((len(one), 3, 3), np.float64)
    right = np.empty((len(one), 3, 1), np.float64)
    for row, slope in enumerate(slopes):
        right[:, row, 0] = _sums(slope * difference)
        for column in range(row, 3):
            normal[:, row, column] = normal[:, column, row] = _sums(slope * slopes[column])
    normal += np.eye(3) * _STIFFNESS
    solved = np.linalg.solve(normal, right)[..., 0]
    return np.asarray(np.sqrt((solved**2).sum(axis=1)))


def _have_spots(one: _Detail, other: _Detail, levels: float, noises: float, *, is_large: bool) -> BoolArray:
    """Return a (P,) mask of the pairs in which adjacent pixels differ by more than noise and edges can explain.

    The differing pixels must form a spot of 3 x 3 if `is_large` is True, and of 2 x 2 otherwise.
    """
    difference = one.levels - other.levels
    noise = _sums(np.minimum(np.abs(difference), _NOISE_CAP)) / np.float32(difference[0].size)
    allowed = (
        levels + noises * noise[:, None, None] + _EDGE_SHARE * _means_of_four(np.minimum(one.ranges, other.ranges))
    )
    excess = np.abs(_means_of_four(difference)) - allowed
    if is_large:
        excess = np.minimum(excess[:, 1:], excess[:, :-1])
        excess = np.minimum(excess[..., 1:], excess[..., :-1])
    return np.asarray(excess.reshape(len(excess), -1).max(axis=1) > 0)


def _means_of_four(planes: Float32Array) -> Float32Array:
    columns = planes[..., 1:] + planes[..., :-1]
    return np.asarray((columns[:, 1:] + columns[:, :-1]) * np.float32(0.25))
