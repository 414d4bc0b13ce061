"""Decide which boxes of a frame are released, based on the table of detections and people's verdicts."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.tables import RECOVERED_COLUMN, RECOVERED_FROM_COLUMN, TRACK_ID_COLUMN, VERDICT_COLUMN
from data_miner_dagster.domain.tracks import sightings_from
from data_miner_dagster.domain.verdicts import BOX_WORDS, SAME_FRAME_SECONDS, FramePlace, Verdict, VerdictWord
from data_miner_dagster.domain.verification import VerifierVerdict
from data_miner_dagster.export.records import PERSON, ReleaseBox
from data_miner_dagster.stages.releasing import (
    DECIMALS,
    ConfidenceCalibration,
    FrameOutcome,
    ReleasableBox,
    ReleaseRules,
    releasable_boxes,
)
from data_miner_dagster.stages.reviewing.judging import FoundBox, judge_boxes
from data_miner_dagster.stages.reviewing.states import FrameClasses

WORDS_ON_BOXES: Final = BOX_WORDS | {VerdictWord.COMPLETE}
"""The words of the verdicts that affect the boxes of a frame."""


class VerdictsByFrame:
    """People's verdicts on the boxes and completeness of a project's frames, by video and time.

    Other verdicts are ignored.
    """

    def __init__(self, verdicts: Iterable[Verdict]) -> None:
        self._by_video: dict[str, list[Verdict]] = {}
        for verdict in verdicts:
            if verdict.word in WORDS_ON_BOXES:
                self._by_video.setdefault(verdict.place.video_key, []).append(verdict)
        for of_video in self._by_video.values():
            of_video.sort(key=_seconds)  # stable, so verdicts on one frame keep their order

    def of(self, place: FramePlace) -> list[Verdict]:
        """Return the verdicts within SAME_FRAME_SECONDS of a frame, ordered by time and then as given."""
        of_video = self._by_video.get(place.video_key, [])
        start = bisect_left(of_video, place.pts_seconds - SAME_FRAME_SECONDS, key=_seconds)
        stop = bisect_left(of_video, place.pts_seconds + SAME_FRAME_SECONDS, key=_seconds)
        return of_video[start:stop]

    @property
    def video_keys(self) -> list[str]:
        """The keys of the videos with verdicts, sorted."""
        return sorted(self._by_video)

    def among(self, places: Iterable[FramePlace]) -> "VerdictsByFrame":
        """Return only the verdicts on the given frames."""
        found = {verdict.answer_id: verdict for place in places for verdict in self.of(place)}
        return VerdictsByFrame(
            verdict for of_video in self._by_video.values() for verdict in of_video if verdict.answer_id in found
        )

    def __len__(self) -> int:
        """Return the number of verdicts."""
        return sum(map(len, self._by_video.values()))

    @property
    def answer_ids(self) -> list[str]:
        """The sorted ids of the answers. They identify the verdicts, because answers never change."""
        return sorted(verdict.answer_id for of_video in self._by_video.values() for verdict in of_video)


def _seconds(verdict: Verdict) -> float:
    return verdict.place.pts_seconds


def _mask_of(row: Mapping[str, Any], box_xyxy: BoxXyxy) -> Mask | None:
    """Return the mask of a detected box, or None if it has no mask or the mask does not fit `box_xyxy`.

    A mask no longer fits if a person moved the box. A change of class keeps the mask.
    """
    mask = Mask.from_coco(row["mask"]) if row.get("mask") else None
    return mask if mask is not None and mask.is_of(box_xyxy) else None


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """The decision on one frame: its released boxes, or the reason why it is not released.

    `unmet` contains the verdicts that match none of the frame's boxes.
    """

    outcome: FrameOutcome
    boxes: tuple[ReleaseBox, ...]
    num_verdicts: int
    unmet: tuple[Verdict, ...]


class Labelling:
    """The rules and verdicts that decide which boxes of a project's frames are released, one frame at a time."""

    def __init__(
        self, config: ProjectConfig, verdicts: VerdictsByFrame, calibration: ConfidenceCalibration | None = None
    ) -> None:
        self.verdicts = verdicts
        self.calibration = calibration
        self._config = config
        self._shown = config.shown
        self._rules = ReleaseRules.of(config)
        self._classes = FrameClasses.of(config)
        self._class_indices = {name: index for index, name in enumerate(self._classes.names)}

    def among(self, places: Iterable[FramePlace]) -> "Labelling":
        """Return a labelling with only the verdicts on the given frames, so that other verdicts do not affect it."""
        return Labelling(self._config, self.verdicts.among(places), self.calibration)

    @property
    def settings(self) -> dict[str, object]:
        """The inputs of the released boxes besides the tables and the configuration, as a JSON-compatible dict.

        It contains the ids of the answers behind the verdicts, and the settings of the calibration. It is empty if
        there are no verdicts and no calibration. A release's fingerprint includes it.
        """
        return {
            **({"verdicts": self.verdicts.answer_ids} if len(self.verdicts) else {}),
            **({"calibration": dict(self.calibration.settings)} if self.calibration is not None else {}),
        }

    def label(
        self, place: FramePlace, resolution_wh: tuple[int, int], rows: Sequence[Mapping[str, Any]]
    ) -> LabelledFrame:
        """Return the released boxes of one frame, or the reason why it is not released.

        Args:
            place: the video and time of the frame.
            resolution_wh: the size (width, height) of the frame in pixels.
            rows: the frame's rows in the table of detections. Their classes must be in the project's class list.
        """
        found = [self._found_box(row) for row in rows]
        verdicts = self.verdicts.of(place)
        judgement = judge_boxes(found, verdicts, self._classes, resolution_wh)
        boxes = releasable_boxes(found, judgement, self._rules, resolution_wh)
        if isinstance(boxes, FrameOutcome):
            return LabelledFrame(boxes, (), len(verdicts), judgement.unmet)
        labels = tuple(self._release_box(box, rows) for box in boxes)
        return LabelledFrame(FrameOutcome.RELEASED, labels, len(verdicts), judgement.unmet)

    def _found_box(self, row: Mapping[str, Any]) -> FoundBox:
        return FoundBox(
            self._class_indices[row["class_name"]],
            row["confidence"],
            (row["x_min"], row["y_min"], row["x_max"], row["y_max"]),
            row["num_agreeing_detectors"],
            VerifierVerdict(said) if (said := row.get(VERDICT_COLUMN)) else None,
        )

    def _release_box(self, box: ReleasableBox, rows: Sequence[Mapping[str, Any]]) -> ReleaseBox:
        class_name = self._classes.names[box.class_index]
        mask: Mask | None = None
        if box.position is None:
            of_detector: dict[str, Any] = {"prompt": class_name, "detector": PERSON, "num_agreeing_detectors": 0}
        else:
            row = rows[box.position]
            mask = _mask_of(row, box.box_xyxy)
            of_detector = {
                "prompt": self._shown.text(row["prompt"]),
                "detector": row["detector"],
                "num_agreeing_detectors": row["num_agreeing_detectors"],
                "verifier_verdict": row.get(VERDICT_COLUMN),
                "track_id": row.get(TRACK_ID_COLUMN),
                "recovered": row.get(RECOVERED_COLUMN),
                "recovered_from": sightings_from(row.get(RECOVERED_FROM_COLUMN)),
                "confidence_calibrated": self._calibrated(row["class_name"], row["confidence"]),
            }
        return ReleaseBox(
            class_index=box.class_index,
            class_name=class_name,
            box_xyxy=box.box_xyxy,
            confidence=box.confidence,
            verdict=box.verdict.word.value if box.verdict else None,
            answer_id=box.verdict.answer_id if box.verdict else None,
            is_unsure=box.is_unsure,
            mask=mask,
            **of_detector,
        )

    def _calibrated(self, class_name: str, confidence: float) -> float | None:
        value = self.calibration.calibrated(class_name, confidence) if self.calibration is not None else None
        return None if value is None else round(value, DECIMALS)
