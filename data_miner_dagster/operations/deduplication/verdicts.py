"""Apply people's verdicts on pairs of frames to the frames that deduplication decides on.

Does not belong here: verdicts on single frames (operations/filtering/verdicts.py).
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import product

import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.verdicts import verdicts_in_force
from data_miner_dagster.domain.verdicts import PAIR_WORDS, SAME_FRAME_SECONDS, FramePlace, VerdictWord
from data_miner_dagster.operations.platform import Platform


@dataclass(frozen=True, slots=True)
class PairVerdicts:
    """The verdicts in force on pairs of frames. Their times affect only the order of `chosen`."""

    different: tuple[tuple[FramePlace, FramePlace], ...] = ()  # not duplicates of each other, in order
    chosen: tuple[FramePlace, ...] = ()  # chosen as representatives, the latest verdict first

    @property
    def content(self) -> dict[str, object]:
        """The part of a fingerprint that covers the verdicts, or an empty dict if there are no verdicts."""
        if not self.different and not self.chosen:
            return {}
        places = {
            "different": [[_content(place) for place in pair] for pair in self.different],
            "chosen": [_content(place) for place in self.chosen],
        }
        return {"pair_verdicts": places}

    def chosen_frames(self, frames: pa.Table) -> list[str]:
        """Return the ids of the given frames that people chose as representatives, latest verdict first."""
        places = _Places(frames, {place.video_key for place in self.chosen})
        rows = [row for place in self.chosen for row in places.rows_at(place)]
        return [frames["frame_id"][row].as_py() for row in rows]

    def different_rows(self, frames: pa.Table) -> frozenset[tuple[int, int]]:
        """Return the pairs of rows in `frames` that people called different, each with the lower row first."""
        places = _Places(frames, {place.video_key for pair in self.different for place in pair})
        return frozenset(
            (min(rows), max(rows))
            for one, other in self.different
            for rows in product(places.rows_at(one), places.rows_at(other))
        )


def pair_verdicts(platform: Platform, project: str) -> PairVerdicts:
    """Return people's verdicts on pairs of a project's frames."""
    different: set[tuple[FramePlace, FramePlace]] = set()
    chosen: list[FramePlace] = []
    for verdict in verdicts_in_force(platform.database, project, words=PAIR_WORDS):
        other = verdict.other_place
        if other is None or other == verdict.place:
            continue
        if verdict.word is VerdictWord.NOT_DUPLICATE:
            different.add((min(verdict.place, other), max(verdict.place, other)))
        elif verdict.word is VerdictWord.REPRESENTATIVE:
            chosen.append(verdict.place)
    return PairVerdicts(tuple(sorted(different)), tuple(reversed(chosen)))


def _content(place: FramePlace) -> list[object]:
    return [place.video_key, place.pts_seconds]


class _Places:
    """Finds the rows of frames by video and time. Several rows may match, because a frame may occur twice."""

    def __init__(self, frames: pa.Table, video_keys: set[str]) -> None:
        self._by_video: dict[str, list[tuple[float, int]]] = defaultdict(list)
        is_named = pc.is_in(frames["video_key"], value_set=pa.array(sorted(video_keys), pa.string()))
        rows = pc.indices_nonzero(is_named)
        named = frames.select(["video_key", "pts_seconds"]).take(rows).to_pylist()
        for row, frame in zip(rows.to_pylist(), named, strict=True):
            self._by_video[frame["video_key"]].append((frame["pts_seconds"], row))

    def rows_at(self, place: FramePlace) -> list[int]:
        """Return the rows of the frames at a given time in a video."""
        of_video = self._by_video.get(place.video_key, ())
        return [row for seconds, row in of_video if abs(seconds - place.pts_seconds) < SAME_FRAME_SECONDS]
