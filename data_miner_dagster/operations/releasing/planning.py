"""Define a release's plan, which is complete before the first byte is written, and the content of its manifest.

Belongs here: records, and the manifest as a function of them. Does not belong here: writing files (writing.py).
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from data_miner_dagster.catalog.schema import ReleaseRow
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.statuses import PROJECT_WAY
from data_miner_dagster.export.manifest import NOT_FOLLOWED
from data_miner_dagster.export.records import ReleaseHeader, ReleaseModel, ReleaseTally, ReleaseVideo
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.source import DecidedFrame
from data_miner_dagster.operations.reporting.funnel import Funnel
from data_miner_dagster.operations.split_memory import Manifests
from data_miner_dagster.operations.verification.verifiers import verifier_model
from data_miner_dagster.operations.verification.verify_boxes import VerificationCounts
from data_miner_dagster.stages.filtering.decisions import FilteringRules
from data_miner_dagster.stages.releasing import FrameOutcome, ImageSelection
from data_miner_dagster.stages.reviewing.states import VerifierRules
from data_miner_dagster.stages.reviewing.waiting import waiting_warning
from data_miner_dagster.stages.splitting.blocks import gaps_fit


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a project before a release, read once."""

    config: ProjectConfig
    manifests: Manifests  # the manifests of the releases on disk, by version
    rows: Sequence[ReleaseRow]  # the catalog's rows about releases
    decided: Mapping[str, str]  # remembered and prescribed splits or cuts by video key (`decided_splits`)
    funnel: Funnel  # the steps before the release
    selection: ImageSelection | None = None  # the choice among all releasable images, or None to release all
    replaced: Mapping[str, Any] | None = None  # manifest of a release to reproduce byte for byte, or None for a new one


@dataclass(frozen=True, slots=True)
class Choice:
    """The images that a selection has chosen from all releasable images, and the selection's settings."""

    settings: Mapping[str, object]
    num_candidates: int
    frames: Mapping[str, npt.NDArray[np.int32]]  # frame indices by video; videos without chosen images are omitted

    def of(self, video_key: str) -> frozenset[int]:
        """Return the frame indices of a video's chosen images. The video must have at least one."""
        return frozenset(self.frames[video_key].tolist())


@dataclass(slots=True)
class FrameTally:
    """A tally of the frames that a release considers, by outcome. Every frame has exactly one outcome."""

    by_outcome: Counter[FrameOutcome] = field(default_factory=Counter)
    unmet_verdicts: list[str] = field(default_factory=list)  # answer ids of the verdicts that match no box
    num_verdicts: int = 0  # verdicts on the boxes of these frames

    def add(self, frame: DecidedFrame) -> None:
        """Count one frame, and the verdicts on it."""
        self.by_outcome[frame.outcome] += 1
        self.unmet_verdicts += frame.unmet_verdicts
        self.num_verdicts += frame.num_verdicts

    def leave_between_blocks(self, number: int) -> None:
        """Reclassify `number` released images as images in a gap between two splits of their video."""
        self.by_outcome[FrameOutcome.RELEASED] -= number
        self.by_outcome[FrameOutcome.BETWEEN_BLOCKS] += number

    def as_json(self, num_released: int) -> dict[str, int]:
        """Return the counts for the manifest, given the number of releasable images that the release contains."""
        counts = {outcome.value: self.by_outcome[outcome] for outcome in FrameOutcome}
        counts[FrameOutcome.RELEASED.value] = num_released
        counts[FrameOutcome.NOT_CHOSEN.value] = self.by_outcome[FrameOutcome.RELEASED] - num_released
        if not self.by_outcome[FrameOutcome.BETWEEN_BLOCKS]:  # few releases have gaps between splits
            del counts[FrameOutcome.BETWEEN_BLOCKS.value]
        return {"looked_at": self.by_outcome.total(), **counts}


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """The decisions about a release, made before its first byte is written."""

    standing: Standing
    header: ReleaseHeader
    fingerprint: str
    split_by_video: dict[str, str]  # the split or cut of each video with images in the release
    choice: Choice | None  # None if every releasable image is released
    group_by_video: dict[str, str]  # the first video of each video's group
    divided_groups: list[tuple[str, ...]]  # groups whose videos are in different splits
    videos_without_images: list[str]  # for example because all their frames are duplicates
    models: tuple[ReleaseModel, ...]
    rules: FilteringRules
    duplicate_encoder: str  # the encoder whose cosines deduplication compares
    duplicate_threshold: float  # the lowest cosine of near-duplicates
    left_out: Collection[str]  # keys of videos and ids of frames whose files are missing or unreadable
    frames: FrameTally
    num_verdicts: int  # verdicts in force on the boxes of the project's representatives
    verification: VerificationCounts | None = None  # None if the project has no verifier
    not_followed: Collection[str] = ()  # keys of videos whose objects could not be followed
    effort: Mapping[str, Any] | None = None  # None if the plan reproduces a release that states no cost

    @property
    def config(self) -> ProjectConfig:
        """The project's configuration."""
        return self.standing.config


def release_models(platform: Platform, config: ProjectConfig) -> tuple[ReleaseModel, ...]:
    """Return the models that a project's release lists, each with its role."""
    models = platform.models
    entries = [("frame filter", models.filter_encoder.entry)]
    entries += [(use, models.dedup_encoder.entry) for use in config.uses_of_dedup_encoder]
    entries += [("detector", detector.entry) for detector in models.detectors(config.detection.detectors)]
    if config.detection.tracker_model is not None:
        entries.append(("tracker", models.video_tracker(config.detection.tracker_model).entry))
    found = [
        ReleaseModel(role, entry.name, entry.source, entry.revision, entry.licence, entry.fingerprint)
        for role, entry in entries
    ]
    if config.detection.verifier is not None:
        found.append(verifier_model(platform, config.detection.verifier.model))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class WrittenImages:
    """The counts of the written images, and the ids of the frames that are included because of a person's verdict."""

    tally: ReleaseTally
    kept_by_hand: Sequence[str]  # ids of frames that are included because of a person's verdict
    num_without_detections: int  # images without any detection, at any confidence


def manifest_content(plan: ReleasePlan, written: WrittenImages, videos: Sequence[ReleaseVideo]) -> dict[str, Any]:
    """Return the content of a release's manifest, except the sections that `write_release` adds.

    The content does not depend on the time or place of the build, so equal inputs give equal bytes.
    """
    config, shown, choice, tally = plan.config, plan.config.shown, plan.choice, written.tally
    return {
        "project": plan.header.project,
        "version": plan.header.version,
        "description": plan.header.description,
        "fingerprint": plan.fingerprint,
        "num_videos": len(videos),
        "num_images": tally.num_images,
        "num_images_without_boxes": tally.num_images_without_boxes,
        "num_images_without_detections": written.num_without_detections,
        "num_boxes": tally.num_boxes,
        "num_unsure_boxes": tally.num_unsure_boxes,
        "images_size_bytes": tally.size_bytes,
        **({"left_out": sorted(plan.left_out)} if plan.left_out else {}),
        **({NOT_FOLLOWED: sorted(plan.not_followed)} if plan.not_followed else {}),
        **({"selection": {**choice.settings, "num_candidates": choice.num_candidates}} if choice else {}),
        **({"kept_by_hand": list(written.kept_by_hand)} if written.kept_by_hand else {}),
        "frames": plan.frames.as_json(tally.num_images),
        "unsure": _unsure_content(plan),
        **({"verdicts": _verdicts_content(plan, tally)} if plan.num_verdicts else {}),
        **({"verifier": _verifier_content(plan.verification, config)} if plan.verification else {}),
        "images_by_split": tally.images_by_split,
        "boxes_by_split": tally.boxes_by_split,
        "images_by_class": tally.images_by_class,
        "boxes_by_class": tally.boxes_by_class,
        "classes": list(plan.header.class_names),
        "splits": _splits_content(plan),
        **({"videos_without_images": plan.videos_without_images} if plan.videos_without_images else {}),
        "thresholds": {name: config.releasing.threshold_of(name) for name in plan.header.class_names},
        "models": [asdict(model) for model in plan.models],
        "funnel": plan.standing.funnel.as_json()["steps"],
        "prompts": {
            role: [{**asdict(rule), "text": shown.text(rule.text)} for rule in rules]
            for role, rules in (
                ("positive", plan.rules.positive),
                ("negative", plan.rules.negative),
                ("junk", plan.rules.junk),
            )
        },
        "duplicates": {"encoder": plan.duplicate_encoder, "threshold": plan.duplicate_threshold},
        "config": {
            stage.word: shown.section(stage.word) for stage in PROJECT_WAY if stage.word in ProjectConfig.model_fields
        },
    }


def _unsure_content(plan: ReleasePlan) -> dict[str, Any]:
    releasing, frames = plan.config.releasing, plan.frames.by_outcome
    return {
        "policy": releasing.unsure,
        "unsure_from": {name: releasing.unsure_from_of(name) for name in plan.header.class_names},
        "warning": waiting_warning(plan.config.name, frames[FrameOutcome.HELD], frames.total()),
    }


def _verdicts_content(plan: ReleasePlan, tally: ReleaseTally) -> dict[str, Any]:
    return {
        "in_force": plan.num_verdicts,
        "on_frames": plan.frames.num_verdicts,
        "boxes": dict(sorted(tally.boxes_by_verdict.items())),
        "unmet": sorted(plan.frames.unmet_verdicts),
    }


def _verifier_content(counts: VerificationCounts, config: ProjectConfig) -> dict[str, Any]:
    """Return the counts of the verifier's verdicts on all detected boxes, and the rules for applying the verdicts."""
    return {
        **{name: value for name, value in asdict(counts).items() if name not in ("asking", "num_tokens")},
        "line": counts.line,
        "rules": VerifierRules.of(config).config.model_dump(mode="json"),
    }


def _splits_content(plan: ReleasePlan) -> dict[str, Any]:
    releasing = plan.config.releasing
    content: dict[str, Any] = {"shares": releasing.ordered_splits, "by_video": plan.split_by_video}
    if releasing.group_by:
        content["group_by"] = releasing.group_by
    if plan.divided_groups:
        content["divided_groups"] = plan.divided_groups
    if tight := [key for key, split in plan.split_by_video.items() if not gaps_fit(split, releasing.guard_seconds)]:
        content["gaps_as_before"] = tight
    return content
