"""Compute a project's funnel: how many videos, frames and boxes remain after each stage, and why the others do not.

Counts are exact. They are read from the catalog and from single columns of tables, so the funnel is available at any
time. A stage that has not run yet has no count (None), which differs from zero.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.releasing import ReleasingConfig
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.phrases import counted_phrase, phrase_of
from data_miner_dagster.domain.reasons import DropReason, DuplicateTier, QualityFlag, RejectionRule, VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.operations.detection.detect_project import faults_by_frame, num_unreadable_frames
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.releasing import FrameOutcome, at_threshold
from data_miner_dagster.stages.reviewing.waiting import WAITING, waiting_warning
from data_miner_dagster.storage.frames import has_frames, read_frames
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.tables import read_batches, read_table


class FunnelStep(StrEnum):
    """The steps of a funnel. The values are stored in releases; domain/phrases.py has the words that users see."""

    CANDIDATES = "candidates found"
    VIDEOS = "videos accepted"
    EXTRACTED = "videos extracted"
    FRAMES = "frames sampled"
    FILTERED = "frames kept"
    UNIQUE = "unique frames"
    DETECTED = "frames looked at"
    BOXES = "boxes found"
    BOXES_RELEASABLE = "boxes at threshold"
    SETTLED = "frames settled"
    RELEASED_IMAGES = "images released"
    RELEASED_BOXES = "boxes released"


_NOT_RELEASED: Final[Mapping[FrameOutcome, str]] = {
    FrameOutcome.WITHOUT_BOXES: "without boxes",
    FrameOutcome.LEFT_OUT: "left out",
    FrameOutcome.NOT_CHOSEN: "not chosen",
    FrameOutcome.BETWEEN_BLOCKS: "between two splits of their video",
}
"""The text for each reason why a frame whose boxes are decided is not in the release."""


@dataclass(frozen=True, slots=True)
class FunnelCount:
    """One step: the number of items that remain, the losses by reason, and the remaining items by kind.

    `count` is None if the project has not reached the step. `note` is an additional human-readable text.
    """

    step: FunnelStep
    count: int | None
    lost: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[str, int] = field(default_factory=dict)
    note: str = ""

    @property
    def remark(self) -> str:
        """The losses, the kinds and the note as human-readable text."""
        lost = [counted_phrase(number, reason) for reason, number in self.lost.items()]
        kinds = [f"{number:,} {kind}" for kind, number in self.kinds.items()]
        parts = (f"without {', '.join(lost)}" if lost else "", ", ".join(kinds), self.note)
        return "; ".join(filter(None, parts))

    def as_json(self) -> dict[str, Any]:
        """Return the step as a JSON-compatible dict."""
        return {
            "step": self.step.name.lower(),
            "label": self.step.value,
            "count": self.count,
            "lost": dict(self.lost),
            "kinds": dict(self.kinds),
            **({"note": self.note} if self.note else {}),
        }


@dataclass(frozen=True, slots=True)
class Funnel:
    """The steps of one project, in order. `release` is the version that the last steps describe, or None."""

    project: str
    steps: tuple[FunnelCount, ...]
    release: str | None = None

    def __getitem__(self, step: FunnelStep) -> FunnelCount:
        return next(count for count in self.steps if count.step is step)

    def with_release(self, version: str | None, manifest: Mapping[str, Any] | None) -> "Funnel":
        """Return the funnel with the steps of a release added. If `manifest` is None, these steps have no count."""
        return Funnel(self.project, (*self.steps, *release_steps(manifest)), version)

    @property
    def waiting_warning(self) -> str | None:
        """A warning with the remedy if many frames are held back from the release until reviewed, or None otherwise.

        The funnel must have the steps of a release (`with_release`).
        """
        settled = self[FunnelStep.SETTLED]
        num_waiting = settled.lost.get(WAITING, 0)
        return waiting_warning(self.project, num_waiting, (settled.count or 0) + num_waiting)

    def as_rows(self) -> list[tuple[str, str, str]]:
        """Return (step, count, reasons) rows of text for a table. A step that has not been reached shows `–`."""
        return [
            (phrase_of(count.step.value), "–" if count.count is None else f"{count.count:,}", count.remark)
            for count in self.steps
        ]

    def as_markdown(self) -> str:
        """Return the rows as a markdown table."""
        lines = [f"| {step} | {count} | {remark} |" for step, count, remark in self.as_rows()]
        return "\n".join(["| step | count | reasons |", "|---|---:|---|", *lines])

    def as_line(self) -> str:
        """Return the steps that were reached as a single line. A step with losses includes its remark."""
        parts = []
        for count in self.steps:
            if count.count is not None:
                parts.append(
                    f"{count.count:,} {phrase_of(count.step.value)}" + (f" ({count.remark})" if count.lost else "")
                )
        return " → ".join(parts)

    def as_counts(self) -> dict[str, int]:
        """Return all counts in a fixed order, keyed by `step`, `step/lost/reason` and `step/kind`.

        Steps that were not reached are omitted.
        """
        flat: dict[str, int] = {}
        for count in self.steps:
            if count.count is None:
                continue
            name = count.step.name.lower()
            flat[name] = count.count
            flat |= {f"{name}/lost/{reason}": number for reason, number in count.lost.items()}
            flat |= {f"{name}/{kind}": number for kind, number in count.kinds.items()}
        return flat

    def as_json(self) -> dict[str, Any]:
        """Return the funnel as a JSON-compatible dict."""
        return {
            "project": self.project,
            "release": self.release,
            "steps": [count.as_json() for count in self.steps],
        }


def project_funnel(platform: Platform, project: str) -> Funnel:
    """Return a project's funnel, with the steps of its current release, or of the latest one if none is current.

    Raises:
        ConfigError: the project does not exist.
        DataMinerError: a table or the release's manifest exists but cannot be read.
    """
    funnel = funnel_before_release(platform, platform.project_config(project))
    version = _latest_version(platform, project)
    manifest = read_manifest(platform.layout.release_folder(project, version)) if version else None
    return funnel.with_release(version, manifest)


def funnel_before_release(platform: Platform, config: ProjectConfig) -> Funnel:
    """Return the current funnel of a project up to the step BOXES_RELEASABLE, without the steps of a release.

    Raises:
        DataMinerError: a table exists but cannot be read.
    """
    layout, project = platform.layout, config.name
    steps = [
        *_video_steps(platform, project),
        _frames_step(platform, project),
        _filtered_step(layout.filtered_table(project)),
        _unique_step(layout.deduplicated_table(project)),
        _detected_step(layout.detected_frames_table(project)),
        *_box_steps(layout.detections_table(project), config.releasing, list(config.detection.classes)),
    ]
    return Funnel(project, tuple(steps))


def _in_order(counts: Mapping[str, int], order: Iterable[str]) -> dict[str, int]:
    """Return the counts that are not zero: first those named in `order`, in that order, then the rest by name."""
    known = list(order)
    names = [*known, *sorted(counts.keys() - set(known))]
    return {name: counts[name] for name in names if counts.get(name)}


def _video_steps(platform: Platform, project: str) -> list[FunnelCount]:
    members = find_members(platform.database, project)
    rejected: Counter[str] = Counter()
    for member in members:
        if member.status is ProjectVideoStatus.REJECTED:
            rejected[(member.reason or "rejected").partition(":")[0].strip()] += 1
    videos = find_videos(platform.database, project=project)
    statuses = Counter(video.status.value for video in videos)
    lost: Counter[str] = Counter()
    for video in videos:
        if video.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE):
            kind = f": {video.error_kind.value}" if video.error_kind else ""
            lost[f"{video.status.value.lower()}{kind}"] += 1
        elif video.status is not VideoStatus.EXTRACTED:
            lost[f"still {video.status.value.lower()}"] += 1
    return [
        FunnelCount(FunnelStep.CANDIDATES, len(members)),
        FunnelCount(FunnelStep.VIDEOS, len(videos), lost=_in_order(rejected, [rule.value for rule in RejectionRule])),
        FunnelCount(FunnelStep.EXTRACTED, statuses[VideoStatus.EXTRACTED.value], lost=_in_order(lost, [])),
    ]


def _frames_step(platform: Platform, project: str) -> FunnelCount:
    flags: Counter[str] = Counter()
    total = 0
    is_any = False
    for video in find_videos(platform.database, project=project):
        if video.status is VideoStatus.EXTRACTED and has_frames(platform.layout, video.key):
            is_any = True
            column = attempt_alone("funnel", video.key, partial(_quality_flags, platform.layout, video.key))
            if isinstance(column, ItemFault):  # no stage can read the frames of this video
                continue
            total += len(column)
            flags.update(_value_counts(column))
    kinds = _in_order(flags, [flag.value for flag in QualityFlag])
    return FunnelCount(FunnelStep.FRAMES, total if is_any else None, kinds=kinds)


def _quality_flags(layout: StorageLayout, video_key: str) -> pa.ChunkedArray:
    return read_frames(layout, video_key, ["quality_flag"])["quality_flag"]


def _value_counts(column: Any) -> dict[str, int]:
    counted = pc.value_counts(column)
    return {entry["values"]: entry["counts"] for entry in counted.to_pylist() if entry["values"] is not None}


def _filtered_step(path: Path) -> FunnelCount:
    if not path.is_file():
        return FunnelCount(FunnelStep.FILTERED, None)
    table = read_table(path, ["is_kept", "drop_reason"])
    lost = _in_order(_value_counts(table["drop_reason"]), [reason.value for reason in DropReason])
    return FunnelCount(FunnelStep.FILTERED, pc.sum(table["is_kept"]).as_py() or 0, lost=lost)


def _unique_step(path: Path) -> FunnelCount:
    if not path.is_file():
        return FunnelCount(FunnelStep.UNIQUE, None)
    table = read_table(path, ["is_representative", "tier"])
    tiers = _in_order(_value_counts(table["tier"]), [tier.value for tier in DuplicateTier])
    lost = {f"duplicate {tier}": number for tier, number in tiers.items()}
    return FunnelCount(FunnelStep.UNIQUE, pc.sum(table["is_representative"]).as_py() or 0, lost=lost)


def _detected_step(path: Path) -> FunnelCount:
    if not path.is_file():
        return FunnelCount(FunnelStep.DETECTED, None)
    num_boxes = read_table(path, ["num_boxes"])["num_boxes"]
    empty = pc.sum(pc.equal(num_boxes, 0)).as_py() or 0
    kinds = {"with boxes": len(num_boxes) - empty, "without": empty}
    faults = len(faults_by_frame(path))
    lost = {"unreadable": num_unreadable_frames(path) - faults, VideoErrorKind.INTERNAL_ERROR.value: faults}
    return FunnelCount(
        FunnelStep.DETECTED,
        len(num_boxes),
        lost=_in_order(lost, lost),
        kinds=_in_order(kinds, kinds),
    )


def _box_steps(path: Path, releasing: ReleasingConfig, class_names: list[str]) -> list[FunnelCount]:
    if not path.is_file():
        return [FunnelCount(FunnelStep.BOXES, None), FunnelCount(FunnelStep.BOXES_RELEASABLE, None)]
    found: Counter[str] = Counter()
    passing: Counter[str] = Counter()
    num_unsure = 0
    for batch in read_batches(path, ["class_name", "confidence"]):
        names = batch["class_name"]
        found.update(_value_counts(names))
        for name in pc.unique(names).to_pylist():
            confidences = batch["confidence"].filter(pc.equal(names, name))
            num_passing = int(at_threshold(confidences.to_numpy(), releasing.threshold_of(name)).sum())
            passing[name] += num_passing
            num_unsure += int(at_threshold(confidences.to_numpy(), releasing.unsure_from_of(name)).sum()) - num_passing
    lost = {"unsure": num_unsure, "below threshold": found.total() - passing.total() - num_unsure}
    return [
        FunnelCount(FunnelStep.BOXES, found.total(), kinds=_in_order(found, class_names)),
        FunnelCount(
            FunnelStep.BOXES_RELEASABLE,
            passing.total(),
            lost=_in_order(lost, lost),
            kinds=_in_order(passing, class_names),
        ),
    ]


def _latest_version(platform: Platform, project: str) -> str | None:
    row = find_project(platform.database, project)
    if row is not None and row.released_version:
        return row.released_version
    releases = find_releases(platform.database, project)
    return releases[-1].version if releases else None


def release_steps(manifest: Mapping[str, Any] | None) -> list[FunnelCount]:
    """Return the steps that a release adds to the funnel. If `manifest` is None, they have no count.

    SETTLED has no count if the release was built by a version that did not record the outcome of each frame.
    """
    if manifest is None:
        steps = (FunnelStep.SETTLED, FunnelStep.RELEASED_IMAGES, FunnelStep.RELEASED_BOXES)
        return [FunnelCount(step, None) for step in steps]
    settled, lost = FunnelCount(FunnelStep.SETTLED, None), {}
    if (frames := manifest.get("frames")) is not None:
        num_held = frames[FrameOutcome.HELD.value]
        settled = FunnelCount(
            FunnelStep.SETTLED, frames["looked_at"] - num_held, lost=_in_order({WAITING: num_held}, [])
        )
        lost = {text: frames.get(outcome.value, 0) for outcome, text in _NOT_RELEASED.items()}
    return [
        settled,
        FunnelCount(
            FunnelStep.RELEASED_IMAGES,
            manifest["num_images"],
            lost=_in_order(lost, lost),
            kinds=manifest["images_by_split"],
        ),
        FunnelCount(
            FunnelStep.RELEASED_BOXES,
            manifest["num_boxes"],
            kinds=manifest["boxes_by_class"],
            note="; ".join(filter(None, (manifest.get("verifier", {}).get("line", ""), _only_on_images(manifest)))),
        ),
    ]


def _only_on_images(manifest: Mapping[str, Any]) -> str:
    """Return a note if a release lacks boxes that reach their thresholds, or "" if it is not known to lack any."""
    name = FunnelStep.BOXES_RELEASABLE.name.lower()
    num_releasable = next((step["count"] for step in manifest.get("funnel", ()) if step["step"] == name), None)
    is_less = num_releasable is not None and manifest["num_boxes"] < num_releasable
    return "only those on released images" if is_less else ""
