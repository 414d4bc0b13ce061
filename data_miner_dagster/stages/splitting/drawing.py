"""Draw the splits of groups of videos so that every class is distributed like the images.

The rarest class is distributed first, and each example goes to the split that needs its class most. Here an example is
a group of videos with many images and boxes. Groups are therefore placed in order of size, and single moves afterwards
correct the imbalance that large groups leave. All arithmetic uses integers, so a project gets the same splits on any
machine.

Source: Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD 2011.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.splits import TRAIN_SPLIT, cut_of, split_role
from data_miner_dagster.stages.splitting.groups import position_of

IntMatrix = npt.NDArray[np.int64]

GROUPS_FOR_EVERY_SPLIT: Final = 10
"""A class in at least this many groups is put into every split. With fewer groups, training would lose too many of
them."""
_UNIT: Final = 100_000  # a share of 1
_MAX_PASSES: Final = 8
_FEW_PASSES: Final = 3
_MANY_GROUPS: Final = 20_000
_BLOCK: Final = 32  # the number of groups to examine together, which saves time because few of them move


@dataclass(frozen=True, slots=True)
class VideoContent:
    """The contribution of one video to a release: its images, and the images and boxes of each class."""

    num_images: int
    images_by_class: Mapping[int, int] = field(default_factory=dict)
    boxes_by_class: Mapping[int, int] = field(default_factory=dict)


_NOTHING: Final = VideoContent(0)


def draw_splits(
    groups: Sequence[tuple[str, ...]],
    shares: Mapping[str, float],
    contents: Mapping[str, VideoContent],
    decided: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the split of every video.

    A video with a decided split keeps it. The rest of its group joins that split, or training if the video is cut into
    several splits. If a new link has joined videos of different splits, the rest goes to the first of these splits in
    the order of `shares`, and `divided_groups` reports the group. The other groups are drawn so that the totals of all
    images, and of images and boxes of each class, come close to the wanted shares. Decided videos count towards these
    totals. Minimum requirements take precedence: training gets a group, `val` gets one if there are two, every split
    gets one if there are as many groups as splits, and a class in at least `GROUPS_FOR_EVERY_SPLIT` groups is put into
    every split.

    Args:
        groups: groups from `group_videos`.
        shares: the share of each split, the training split first. The shares sum to 1.
        contents: the contribution of each video.
        decided: the remembered or set split of each video, by video key. For a video that is cut into several splits,
            the text of its cut (domain/splits.py).

    Example:
        >>> contents = {key: VideoContent(num_images=10) for key in ("a", "b", "c", "d")}
        >>> splits = draw_splits([("a", "b"), ("c",), ("d",)], {"train": 0.5, "val": 0.5}, contents)
        >>> splits["a"] == splits["b"], sorted(splits.values())
        (True, ['train', 'train', 'val', 'val'])
    """
    order, known = list(shares), decided or {}
    splits: dict[str, str] = {}
    fresh = []
    for group in groups:
        taken = {known[key] for key in group if key in known}
        if not taken:
            fresh.append(group)
            continue
        joined = next((split for split in order if split in taken), order[0])
        splits |= {key: known.get(key, joined) for key in group}
    fresh.sort(key=lambda group: (position_of(group), group))
    whole = {key: order[0] if cut_of(split) else split for key, split in splits.items()}
    draw = _Draw(order, shares, _Strata(groups, contents), whole)
    for group, split in zip(fresh, draw.place(fresh), strict=True):
        splits |= dict.fromkeys(group, order[split])
    return splits


class _Strata:
    """The quantities to balance, one per column: all images, then the images and boxes of each class that occurs."""

    def __init__(self, groups: Sequence[tuple[str, ...]], contents: Mapping[str, VideoContent]) -> None:
        self._contents = contents
        members = [contents.get(key, _NOTHING) for group in groups for key in group]
        classes = sorted({name for content in members for name in (*content.images_by_class, *content.boxes_by_class)})
        self._column = {name: 1 + 2 * position for position, name in enumerate(classes)}
        self.num_columns = 1 + 2 * len(classes)

    def row_of(self, group: Sequence[str]) -> IntMatrix:
        """Return the (L,) contribution of a group of videos to each column."""
        row = np.zeros(self.num_columns, np.int64)
        for content in (self._contents.get(key, _NOTHING) for key in group):
            row[0] += content.num_images
            for name, number in content.images_by_class.items():
                row[self._column[name]] += number
            for name, number in content.boxes_by_class.items():
                row[self._column[name] + 1] += number
        return row


class _Draw:
    """The state of one draw: the total of each quantity in each split, in counts and in groups."""

    def __init__(
        self, order: Sequence[str], shares: Mapping[str, float], strata: _Strata, decided: Mapping[str, str]
    ) -> None:
        self._strata = strata
        self._shares = np.asarray([round(shares[split] * _UNIT) for split in order], np.int64)[:, None]
        # `val` before the others, because training programs need it.
        filled_first = sorted(
            range(len(order)), key=lambda at: (order[at] != TRAIN_SPLIT, split_role(order[at]) != "val", at)
        )
        self._preference = np.argsort(filled_first)
        size = (len(order), strata.num_columns)
        self._counts, self._groups = np.zeros(size, np.int64), np.zeros(size, np.int64)
        position = {split: at for at, split in enumerate(order)}
        for key, split in decided.items():
            row = strata.row_of([key])
            self._counts[position[split]] += row
            self._groups[position[split]] += self._marks(row)

    def place(self, fresh: Sequence[tuple[str, ...]]) -> list[int]:
        """Return the position of each group's split in `order`."""
        if not fresh:
            return []
        rows = np.stack([self._strata.row_of(group) for group in fresh])
        marks = np.stack([self._marks(row) for row in rows])
        self._totals = np.maximum(self._counts.sum(axis=0) + rows.sum(axis=0), 1)
        groups_by_column = self._groups.sum(axis=0) + marks.sum(axis=0)
        self._set_needs(groups_by_column)
        places = self._first_places(rows, marks)
        for _ in range(_FEW_PASSES if len(fresh) > _MANY_GROUPS else _MAX_PASSES):
            if not self._improve(rows, marks, places):
                break
        if groups_by_column[0] < GROUPS_FOR_EVERY_SPLIT:
            self._exchange(rows, marks, places)
        return places

    @staticmethod
    def _marks(row: IntMatrix) -> IntMatrix:
        marks = (row > 0).astype(np.int64)
        marks[0] = 1  # a group counts even if it contributes nothing
        return marks

    def _set_needs(self, groups_by_column: IntMatrix) -> None:
        """Determine which quantities must occur in which splits, and the weights of the quantities."""
        num_splits = len(self._shares)
        needed = np.repeat((groups_by_column >= GROUPS_FOR_EVERY_SPLIT)[None, :], num_splits, axis=0)
        needed[:, 0] = self._preference < groups_by_column[0]
        self._needed = needed.astype(np.int64)
        self._weights = np.ones(len(groups_by_column), np.int64)
        # All images together weigh as much as all classes together.
        self._weights[0] = max(1, len(groups_by_column) // 2)

    def _first_places(self, rows: IntMatrix, marks: IntMatrix) -> list[int]:
        """Return the split of each group. Groups with the rarest quantity are placed first, largest groups first."""
        places = [-1] * len(rows)
        left = marks.sum(axis=0)
        is_open = np.ones(len(rows), np.bool_)
        while is_open.any():
            column = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
            chosen = np.flatnonzero(is_open & (marks[:, column] > 0))
            for at in chosen[np.argsort(-rows[chosen, column], kind="stable")].tolist():
                places[at] = self._most_wanted(column)
                self._move(rows[at], marks[at], None, places[at])
            is_open[chosen] = False
            left -= marks[chosen].sum(axis=0)
        return places

    def _most_wanted(self, column: int) -> int:
        """Return the split that lacks the most of a quantity.

        Ties are broken by the number of images that a split lacks, then by the order in which splits are filled.
        """
        lacks = self._shares[:, 0] - self._counts[:, column] * _UNIT // self._totals[column]
        lacks_images = self._shares[:, 0] - self._counts[:, 0] * _UNIT // self._totals[0]
        return int(np.lexsort((self._preference, -lacks_images, -lacks))[0])

    def _move(self, row: IntMatrix, marks: IntMatrix, source: int | None, target: int) -> None:
        self._counts[target] += row
        self._groups[target] += marks
        if source is not None:
            self._counts[source] -= row
            self._groups[source] -= marks

    def _improve(self, rows: IntMatrix, marks: IntMatrix, places: list[int]) -> bool:
        """Move each group to its best split. Return whether any group moved."""
        has_moved, start = False, 0
        while start < len(rows):
            block = slice(start, start + _BLOCK)
            targets = self._better_places(rows[block], marks[block], places[block])
            moving = np.flatnonzero(targets != places[block])
            if not len(moving):
                start += _BLOCK
                continue
            at = start + int(moving[0])
            target = int(targets[moving[0]])
            self._move(rows[at], marks[at], places[at], target)
            places[at] = target
            has_moved, start = True, at + 1  # the totals have changed for the groups that follow
        return has_moved

    def _exchange(self, rows: IntMatrix, marks: IntMatrix, places: list[int]) -> None:
        """Exchange pairs of groups between their splits while this reduces the unmet needs or the error.

        If there are hardly more groups than splits, no single group can move without leaving its split empty, so only
        exchanges can balance the classes.
        """
        while (pair := self._better_exchange(rows, marks, places)) is not None:
            self._exchange_places(rows, marks, places, *pair)

    def _better_exchange(self, rows: IntMatrix, marks: IntMatrix, places: list[int]) -> tuple[int, int] | None:
        """Return the exchange of two groups that leaves the fewest unmet needs, then the least error.

        The result is None if no exchange helps.
        """
        best, least = None, self._distance()
        for pair in combinations(range(len(rows)), 2):
            if places[pair[0]] == places[pair[1]]:
                continue
            self._exchange_places(rows, marks, places, *pair)
            left = self._distance()
            self._exchange_places(rows, marks, places, *pair)
            if left < least:
                best, least = pair, left
        return best

    def _distance(self) -> tuple[int, int, int]:
        """Return the number of unmet needs, the error in images, and the error over all quantities."""
        off = self._counts[:, 0] * _UNIT // self._totals[0] - self._shares[:, 0]
        return int(self._gap(self._groups).sum()), int((off * off).sum()), int(self._error(self._counts).sum())

    def _exchange_places(self, rows: IntMatrix, marks: IntMatrix, places: list[int], one: int, other: int) -> None:
        for at, target in ((one, places[other]), (other, places[one])):
            self._move(rows[at], marks[at], places[at], target)
        places[one], places[other] = places[other], places[one]

    def _better_places(self, rows: IntMatrix, marks: IntMatrix, sources: Sequence[int]) -> IntMatrix:
        """Return the (G,) best split of each group if no other group moves. On a tie, the group keeps its split."""
        each, gap, now = np.arange(len(rows)), self._gap(self._groups), self._error(self._counts)
        lost = self._gap(self._groups - marks[:, None]) - gap  # (G, S) unmet needs once the group has left
        met = gap - self._gap(self._groups + marks[:, None])
        without, having = (self._error(self._counts + change[:, None]) - now for change in (-rows, rows))
        needs = lost[each, sources][:, None] - met
        errors = without[each, sources][:, None] + having
        needs[each, sources], errors[each, sources] = 0, 0
        best = np.lexsort((np.broadcast_to(self._preference, needs.shape), errors, needs), axis=-1)[:, 0]
        fewest, least = needs[each, best], errors[each, best]
        return np.where((fewest < 0) | ((fewest == 0) & (least < 0)), best, sources)

    def _gap(self, groups: IntMatrix) -> IntMatrix:
        """Return the number of unmet needs of each split: (..., S) for (..., S, L) group counts."""
        missing: IntMatrix = (self._needed * (groups <= 0)).sum(axis=-1)
        return missing

    def _error(self, counts: IntMatrix) -> IntMatrix:
        """Return, for each split, the weighted sum of the squared deviations of its quantities from its share.

        The result is (..., S) for (..., S, L) counts.
        """
        off = counts * _UNIT // self._totals - self._shares
        error: IntMatrix = (off * off * self._weights).sum(axis=-1)
        return error
