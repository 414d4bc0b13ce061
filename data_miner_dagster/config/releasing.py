"""Settings for the content of a release."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.selecting import SelectionConfig
from data_miner_dagster.config.words import checked_names
from data_miner_dagster.domain.splits import TRAIN_SPLIT, fold_name, split_role

DEFAULT_UNSURE_FROM: Final = 0.1
"""The default of `unsure_from`. Nine tenths of the objects that a detector reported below its threshold have a
confidence higher than this. Source: `benchmarks.unsure`, on the curve of the lite detector."""

UnsurePolicy = Literal["hold", "ignore_regions", "as_negative"]


class VerifierRulesConfig(ConfigModel):
    """The `releasing.verifier` section: the effect of a verifier's answer (`detection.verifier`) on a box.

    Changing this section does not query the verifier again. A person's verdict on a box takes precedence.
    """

    confirmed: Literal["object", "by_confidence"] = "object"
    """The treatment of an unsure box that the verifier confirmed. `object`: release it. `by_confidence`: leave it
    unsure."""
    rejected: Literal["drop", "unsure", "by_confidence"] = "drop"
    """The treatment of a box that the verifier rejected, whether it is unsure or not. `drop`: leave it out. `unsure`:
    leave the decision to a person. `by_confidence`: treat it as if the verifier had not answered."""
    cannot_tell: Literal["by_confidence", "unsure"] = "by_confidence"
    """The treatment of a box that the verifier cannot judge. `by_confidence`: treat it as if the verifier had not
    answered. `unsure`: leave the decision to a person."""


class ReleasingConfig(ConfigModel):
    """The `releasing` section of a project."""

    confidence_threshold: float = Field(default=0.3, ge=0, le=1)
    """Leave boxes below this confidence out of the release."""
    class_thresholds: Annotated[Mapping[str, float], BeforeValidator(checked_names)] = Field(default_factory=dict)
    """Overrides of `confidence_threshold` per class, by name as in `detection.classes`."""
    unsure_from: float | None = Field(default=None, ge=0, le=1)
    """Boxes with at least this confidence, but below the threshold of their class, are unsure, so their frame is not
    used as a negative. Default: 0.1, or the class's threshold if that is lower. If it equals the threshold, no box is
    unsure."""
    class_unsure_from: Annotated[Mapping[str, float], BeforeValidator(checked_names)] = Field(default_factory=dict)
    """Overrides of `unsure_from` per class, by name as in `detection.classes`."""
    unsure: UnsurePolicy = "hold"
    """The treatment of unsure boxes in a release. `hold`: their frame waits until a person has reviewed it.
    `ignore_regions`: the frame is released with these boxes as regions to ignore (`iscrowd` in COCO; YOLO cannot mark
    them). `as_negative`: the frame is released without these boxes."""
    verifier: VerifierRulesConfig | None = None
    """The effect of a verifier's answers on a release. Default: confirmed boxes are released, and rejected
    boxes are not."""
    include_frames_without_boxes: bool = True
    """Release frames without boxes, as negatives."""
    splits: Annotated[Mapping[str, float], BeforeValidator(checked_names)] = Field(
        default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1}
    )
    """The shares of the splits, which must sum to 1 and include `train`. Videos that share duplicates are put into the
    same split. Do not use two names for one purpose, such as `val` and `valid`: each export uses the name that its
    format requires."""
    select: SelectionConfig | None = None
    """Release only a selection of the images. See `data-miner select`. Default: release all."""
    group_by: Literal["channel"] | None = None
    """`channel`: all videos of a channel are also put into the same split. Changing this assigns the videos to splits
    again."""
    fixed_splits: Mapping[str, tuple[str, ...]] | None = None
    """Videos with a prescribed split, by split: `{test: [youtube-dQw4w9WgXcQ]}`. The other videos are assigned so that
    all videos together meet the shares."""
    folds: int | None = Field(default=None, ge=2, le=20)
    """Divide the videos for training and validation into this many folds of equal size, for cross-validation. The folds
    share the total of `train` and `val`. Other splits do not change."""
    guard_seconds: float | None = Field(default=None, ge=0)
    """The gap between two splits of the same video, if a project has no more than two videos. Default: 5 s, or a
    twentieth of the time that the images span, whichever is shorter. Changing this changes the gaps of videos that are
    already divided, but moves no image from one split to another."""
    leak_hash_distance: int | None = Field(default=None, ge=0, le=64)
    """The check for leaks between splits fails if the perceptual hashes of two images in different splits differ in at
    most this many of 64 bits, and their cosine reaches `leak_cosine`. Default: 6."""
    leak_cosine: float | None = Field(default=None, ge=0, le=1)
    """For the check described under `leak_hash_distance`: the lowest cosine similarity that it reports, by the encoder
    that deduplication did not use. Default: halfway between that encoder's own threshold for near-duplicates and 1."""
    copy_images: bool = False
    """Copy images instead of hard-linking the frames. Set this if you want to edit a release's images in place."""

    @field_validator("class_thresholds", "class_unsure_from")
    @classmethod
    def _thresholds_in_range(cls, thresholds: Mapping[str, float]) -> Mapping[str, float]:
        for class_name, threshold in thresholds.items():
            if not 0 <= threshold <= 1:
                raise ValueError(f"the value for {class_name!r} is {threshold}; it must be between 0 and 1")
        return thresholds

    @field_validator("splits")
    @classmethod
    def _splits_are_shares(cls, splits: Mapping[str, float]) -> Mapping[str, float]:
        for name, share in splits.items():
            if not re.fullmatch(r"[A-Za-z0-9_]+", name):
                raise ValueError(
                    f"the split name {name!r} becomes a folder name, for which only letters, digits and '_' are "
                    "allowed; rename the split"
                )
            if not share > 0:
                raise ValueError(f"the share of split {name!r} is {share}; give it more than 0, or leave the split out")
        if "all" in splits:
            raise ValueError(
                "a split cannot be named 'all', because the file with all annotations has that name; rename the split"
            )
        names: dict[str, str] = {}
        for name in splits:
            other = names.setdefault(split_role(name), name)
            if other != name:
                raise ValueError(
                    f"trainers and `datasets` treat the splits {other!r} and {name!r} as the same split; keep one"
                )
        if TRAIN_SPLIT not in splits:
            raise ValueError(f"the split {TRAIN_SPLIT!r} is missing; add it with its share")
        if not math.isclose(sum(splits.values()), 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares of the splits sum to {sum(splits.values()):g}; they must sum to 1")
        return splits

    @model_validator(mode="after")
    def _videos_are_in_one_split_that_exists(self) -> "ReleasingConfig":
        names, seen = list(self.ordered_splits), dict[str, str]()
        for split, video_keys in (self.fixed_splits or {}).items():
            if split not in names:
                raise ValueError(f"fixed_splits names {split!r}, which is not a split; use one of {', '.join(names)}")
            for key in video_keys:
                if (other := seen.setdefault(key, split)) != split:
                    raise ValueError(f"fixed_splits has {key} in both {other!r} and {split!r}; keep one")
        if self.folds is not None and (taken := [name for name in self.splits if name.startswith("fold_")]):
            raise ValueError(f"folds creates splits named fold_1, fold_2, ...; rename the split {taken[0]!r}")
        return self

    def threshold_of(self, class_name: str) -> float:
        """Return the confidence at or above which a box of the class is an object, unless a verdict overrides this."""
        return self.class_thresholds.get(class_name, self.confidence_threshold)

    def unsure_from_of(self, class_name: str) -> float:
        """Return the lower end of the range of confidences in which a box of the class is unsure.

        The range ends below the class's threshold, and is empty if the result equals the threshold.
        """
        wanted = self.class_unsure_from.get(class_name, self.unsure_from)
        return min(DEFAULT_UNSURE_FROM if wanted is None else wanted, self.threshold_of(class_name))

    @property
    def ordered_splits(self) -> dict[str, float]:
        """The shares of the splits: `train` or the folds first, then the others sorted by name."""
        others = sorted(name for name in self.splits if name != TRAIN_SPLIT)
        if self.folds is None:
            return {name: self.splits[name] for name in (TRAIN_SPLIT, *others)}
        pooled = [name for name in (TRAIN_SPLIT, *others) if split_role(name) in ("train", "val")]
        share = sum(self.splits[name] for name in pooled) / self.folds
        folds = {fold_name(number + 1): share for number in range(self.folds)}
        return folds | {name: self.splits[name] for name in others if name not in pooled}

    @property
    def prescribed_splits(self) -> dict[str, str]:
        """The splits that the project file prescribes, by video key."""
        return {key: split for split, video_keys in (self.fixed_splits or {}).items() for key in video_keys}
