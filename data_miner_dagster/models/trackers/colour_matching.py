"""Tell objects of one class apart by their colours, where motion alone is not enough.

The tracker matches boxes with tracks by overlap. This module remembers the colours of each track and changes the
overlaps before the matching. A box that looks like one track is less likely, or unable, to continue a track that looks
different. A lost track can continue in a box beside its expected position. Objects that look alike are matched by
overlap, as they would be without colours.

Only confident boxes are considered. A track keeps the mean of its colours, so memory does not grow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.colours import NUM_COLOUR_BINS, Colours, colour_distance, unit_colours

Matrix = npt.NDArray[np.float64]

_ALIKE: Final = 0.3
"""The maximum distance at which a box looks like a track. The distance between two frames of one object is usually
below 0.1."""
_MARGIN: Final = 0.2
"""A box that looks like a track belongs to it rather than to a second track that is farther by more than this."""
_DIFFERENT: Final = 0.4
"""A box does not look like a track if the distance between them is greater than this."""
_LEAST_OVERLAP: Final = 0.11
"""The overlap that is assumed between a lost track and a box that match only by colour. It is just above the tracker's
minimum."""
_REJOINING: Final = 0.5
"""The weight of colours if a box looks like only one track."""
_NEW_BOXES: Final = 2
_NEW_FACTOR: Final = 0.6
"""A track with at most `_NEW_BOXES` boxes is often a false detection. An older track that looks like a box takes
precedence: the new track's overlap is multiplied by this factor."""
_COVERED: Final = 0.05
"""An object counts as in front of a box if it covers more than this share of the box."""
_GROWTH: Final = 0.3
"""The share by which expected positions are enlarged on each side, because they are not exact."""
_FOUND_OVERLAP: Final = 0.3
_FOUND_DISTANCE: Final = 0.5
"""A box with at least this IoU with a track's expected position, and at most this distance in colour, may be the
track's detection."""
_HIDDEN_OVERLAP: Final = 0.1
_HIDING_COST: Final = 0.3
"""A box with at least this IoU with a track's expected position may show the track's object partly hidden. It then
looks like a mixture with the object in front. The distance grows with the hidden share, because a larger share is less
likely."""
_CERTAIN_OVERLAP: Final = 0.9
"""Where several objects are expected, one may hide another, so colours do not overrule an overlap of at least this."""
_RECENT_SECONDS: Final = 1.01
"""An object that has not been detected for longer than this is no longer expected to hide others."""
_RATE: Final = 0.2
"""The weight of the newest box in a track's mean colours. It is lower for a box that looks different, such as one that
was matched wrongly or is behind an object of another class."""


@dataclass(slots=True)
class _Known:
    """A track: its last box and the time of that box, the number of its boxes, and its mean colours.

    Undetected objects may have covered a share of the box that last contributed to the colours. `covered` is that
    share, or 1 before any colours are known.
    """

    box: Matrix
    last_seconds: float
    num_boxes: int = 0
    colours: Matrix | None = None
    covered: float = 1.0

    def see(self, colours: Matrix, covered: float) -> None:
        """Update the colours. Until an uncovered box is seen, the colours of the least covered box are used."""
        if covered <= _COVERED:
            if self.colours is None or self.covered > _COVERED:
                self.colours = colours
            rate = _RATE * (1 - colour_distance(self.colours, colours)) ** 2
            self.colours = unit_colours((1 - rate) * self.colours + rate * colours)
            self.covered = covered
        elif covered < self.covered:
            self.colours, self.covered = colours, covered


@dataclass(frozen=True, slots=True)
class Sight:
    """The confident boxes of one class on a frame, (M, 4), with their colours, and the time of the frame."""

    pts_seconds: float
    boxes: Matrix
    colours: Sequence[Colours | None]


@dataclass(frozen=True, slots=True)
class _Distances:
    """The (tracks, boxes) distances in colour, NaN where unknown, and a mask of boxes that several objects may hide."""

    values: Matrix
    is_unsure: npt.NDArray[np.bool_]


class ColourMatching:
    """Remembers the colours of the tracks of one class, and adjusts the overlaps of boxes with tracks accordingly."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._expected: dict[int, Matrix] = {}

    def adjusted(self, overlaps: Matrix, numbers: Sequence[int], expected: Matrix, sight: Sight) -> Matrix:
        """Return the (tracks, boxes) overlaps with which the tracker must match boxes to tracks.

        Args:
            overlaps: a (tracks, boxes) array with the IoU of each expected position with each box.
            numbers: the tracker's number of each track.
            expected: a (tracks, 4) array with the expected position of each track.
            sight: the confident boxes of the frame, with their colours.
        """
        self._expected = dict(zip(numbers, expected, strict=True))
        if all(colours is None for colours in sight.colours):
            return overlaps
        tracks = [self._known[number] for number in numbers]
        distances = self._distances(overlaps, tracks, expected, sight)
        is_known = ~np.isnan(distances.values)
        far = np.where(is_known, distances.values, np.inf)
        is_new = np.array([track.num_boxes <= _NEW_BOXES for track in tracks])
        is_sure = ((far <= _ALIKE) & ~is_new[:, None] & (overlaps > 0)).any(axis=0)
        is_near = [self._is_expected(track, sight.pts_seconds) for track in tracks]
        shares = np.array([_covered_shares(box, expected) for box in sight.boxes]).reshape(-1, len(tracks))
        is_crowded = ((shares > _COVERED) & np.array(is_near)).sum(axis=1) > 1
        is_clear = is_known & np.array([track.covered <= _COVERED for track in tracks])[:, None]
        is_clear &= ~is_crowded[None, :] | (overlaps < _CERTAIN_OVERLAP)
        changed = overlaps * np.where(is_clear, np.clip((1 - far) / (1 - _ALIKE), 0, 1), 1)
        changed = changed * np.where(is_new[:, None] & is_sure[None, :], _NEW_FACTOR, 1)
        reachable = far.copy()
        reachable[~_within_reach(tracks, expected, sight)] = np.inf
        for column in range(overlaps.shape[1]):
            best = int(reachable[:, column].argmin())
            distance = float(reachable[best, column])
            if distance > _ALIKE:
                continue
            others = is_clear[:, column] & (far[:, column] > max(distance + _MARGIN, _DIFFERENT))
            others[best] = False
            changed[others, column] = 0
            rivals = np.delete(np.where(is_new, np.inf, reachable[:, column]), best)
            if not distances.is_unsure[column] and (rivals > distance + _MARGIN).all():
                rejoining = _LEAST_OVERLAP + _REJOINING * (_ALIKE - distance)
                changed[best, column] = max(changed[best, column], rejoining)
        return changed

    def _distances(self, overlaps: Matrix, tracks: Sequence[_Known], expected: Matrix, sight: Sight) -> _Distances:
        """Return the colour distances of boxes from tracks, or from mixtures of a track with a track that hides it."""
        values = _plain_distances(tracks, sight)
        is_unsure = np.zeros(overlaps.shape[1], np.bool_)
        colours = [None if each is None else unit_colours(each) for each in sight.colours]
        for column, seen in enumerate(colours):
            if seen is None:
                continue
            hiding = [
                (row, share)
                for row, share in enumerate(_covered_shares(sight.boxes[column], _grown(expected)).tolist())
                if share > _COVERED
                and tracks[row].colours is not None
                and self._is_expected(tracks[row], sight.pts_seconds)
                and not _may_be_found(tracks[row], overlaps[row], colours, column)
            ]
            is_unsure[column] = len(hiding) > 1
            for row in np.flatnonzero(overlaps[:, column] >= _HIDDEN_OVERLAP).tolist():
                own = tracks[row].colours
                if own is not None:
                    mixtures = [(tracks[other].colours, share) for other, share in hiding if other != row]
                    values[row, column] = _mixed_distance(seen, own, mixtures)
        return _Distances(values, is_unsure)

    def _is_expected(self, track: _Known, pts_seconds: float) -> bool:
        return track.num_boxes > _NEW_BOXES and pts_seconds - track.last_seconds <= _RECENT_SECONDS

    def see(self, numbers: Sequence[int], sight: Sight, alive: Mapping[int, object]) -> None:
        """Remember a frame's boxes and their colours, and forget the tracks that are not in `alive`.

        Args:
            numbers: the number of each box's track, or -1 if it has none.
            sight: the confident boxes of the frame, with their colours.
            alive: a mapping whose keys are the numbers of the tracks that the tracker still follows.
        """
        self._known = {number: known for number, known in self._known.items() if number in alive}
        unseen = [
            place
            for number, place in self._expected.items()
            if number in self._known
            and number not in numbers
            and self._is_expected(self._known[number], sight.pts_seconds)
        ]
        for number, box, colours in zip(numbers, sight.boxes, sight.colours, strict=True):
            if number < 0:
                continue
            known = self._known.setdefault(number, _Known(box, sight.pts_seconds))
            known.box, known.last_seconds, known.num_boxes = box, sight.pts_seconds, known.num_boxes + 1
            if colours is not None:
                covered = float(_covered_shares(box, np.array(unseen).reshape(-1, 4)).max(initial=0))
                known.see(unit_colours(colours), covered)
        self._expected = {}


def _plain_distances(tracks: Sequence[_Known], sight: Sight) -> Matrix:
    """Return the (tracks, boxes) distances in colour, NaN where the colours of the track or the box are unknown."""
    unknown = np.full(NUM_COLOUR_BINS, np.nan)
    of_tracks = np.array([unknown if track.colours is None else track.colours for track in tracks])
    of_boxes = np.array([unknown if each is None else unit_colours(each) for each in sight.colours])
    distances: Matrix = np.sqrt(np.clip(1 - of_tracks @ of_boxes.T, 0, None))
    return distances


def _covered_shares(box: Matrix, others: Matrix) -> Matrix:
    """Return an (N,) array with the share of a box that each of the (N, 4) other boxes covers."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shares: Matrix = np.clip(high - low, 0, None).prod(axis=1) / max(float((box[2:] - box[:2]).prod()), 1e-9)
    return shares


def _grown(boxes: Matrix) -> Matrix:
    by = _GROWTH * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - by, boxes[:, 2:] + by], axis=1)


def _may_be_found(track: _Known, overlaps: Matrix, colours: Sequence[Matrix | None], beside: int) -> bool:
    """Return whether a box other than `beside` may be the track's own detection."""
    for column in np.flatnonzero(overlaps >= _FOUND_OVERLAP).tolist():
        seen = colours[column]
        if column != beside and (
            seen is None or track.colours is None or colour_distance(seen, track.colours) <= _FOUND_DISTANCE
        ):
            return True
    return False


def _mixed_distance(seen: Matrix, own: Matrix, mixtures: Sequence[tuple[Matrix | None, float]]) -> float:
    """Return the distance of `seen` from the nearest of a track's colours and their mixtures with hiding objects.

    The distance from a mixture is increased by `_HIDING_COST` times the hidden share.
    """
    nearest = colour_distance(seen, own)
    for other, share in mixtures:
        if other is not None:
            for part in (share / 3, 2 * share / 3, share):
                mixed = colour_distance(seen, np.sqrt((1 - part) * own**2 + part * other**2))
                nearest = min(nearest, mixed + _HIDING_COST * part)
    return nearest


_REACH: Final = 1.5
_REACH_SECONDS: Final = 0.5
"""A lost object may continue in a box near its expected or its last position. The radius is `_REACH` times the box's
side for each `_REACH_SECONDS` since the last detection, but at least half and at most twice `_REACH` times the side."""


def _within_reach(tracks: Sequence[_Known], expected: Matrix, sight: Sight) -> npt.NDArray[np.bool_]:
    """Return a (tracks, boxes) bool array that is True where the track's object may have moved to the box."""
    sides = (sight.boxes[:, 2:] - sight.boxes[:, :2]).mean(axis=1)
    last = np.array([track.box for track in tracks])
    middles = (sight.boxes[:, :2] + sight.boxes[:, 2:]) / 2
    gaps = [
        np.linalg.norm(((places[:, :2] + places[:, 2:]) / 2)[:, None] - middles[None], axis=2)
        for places in (expected, last)
    ]
    lost = np.array([sight.pts_seconds - track.last_seconds for track in tracks])
    reach = _REACH * np.clip(lost / _REACH_SECONDS, 0.5, 2)
    within: npt.NDArray[np.bool_] = np.minimum(*gaps) / np.maximum(sides[None], 1e-9) <= reach[:, None]
    return within
