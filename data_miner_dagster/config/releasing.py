"""What goes into a release."""

import math
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.words import checked_names
from data_miner_dagster.domain.splits import TRAIN_SPLIT, split_role


class ReleasingConfig(ConfigModel):
    """The `releasing` section of a project."""

    confidence_threshold: float = Field(default=0.3, ge=0, le=1)
    """Leave boxes below this confidence out of the release."""
    class_thresholds: Annotated[Mapping[str, float], BeforeValidator(checked_names)] = Field(default_factory=dict)
    """Overrides per class, by name as in `detection.classes`."""
    include_frames_without_boxes: bool = True
    """Keep frames in which no class was found, as negatives."""
    splits: Annotated[Mapping[str, float], BeforeValidator(checked_names)] = Field(
        default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1}
    )
    """Shares of the splits, which must sum to 1 and include `train`. Videos that share duplicates stay together. Do not
    use two names for one purpose, such as `val` and `valid`: exports write `val` or `validation` themselves."""
    copy_images: bool = False
    """Copy images instead of hard-linking the frames. Needed to edit a release's images in place."""

    @field_validator("class_thresholds")
    @classmethod
    def _thresholds_in_range(cls, thresholds: Mapping[str, float]) -> Mapping[str, float]:
        for class_name, threshold in thresholds.items():
            if not 0 <= threshold <= 1:
                raise ValueError(f"the threshold of {class_name!r} is {threshold}; it must lie between 0 and 1")
        return thresholds

    @field_validator("splits")
    @classmethod
    def _splits_are_shares(cls, splits: Mapping[str, float]) -> Mapping[str, float]:
        for name, share in splits.items():
            if not re.fullmatch(r"[A-Za-z0-9_]+", name):
                raise ValueError(f"split {name!r} must be letters, digits and '_': it becomes a folder name")
            if not share > 0:
                raise ValueError(f"the share of split {name!r} is {share}; it must be above 0 (or leave it out)")
        if "all" in splits:
            raise ValueError("no split can be called 'all': that is the file of all annotations")
        names: dict[str, str] = {}
        for name in splits:
            other = names.setdefault(split_role(name), name)
            if other != name:
                raise ValueError(f"splits {other!r} and {name!r} are one split to trainers and to `datasets`: keep one")
        if TRAIN_SPLIT not in splits:
            raise ValueError(f"splits must name {TRAIN_SPLIT!r}; it names {', '.join(sorted(splits)) or 'none'}")
        if not math.isclose(sum(splits.values()), 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares of the splits sum to {sum(splits.values()):g}; they must sum to 1")
        return splits

    def threshold_of(self, class_name: str) -> float:
        """Return the least confidence at which a box of the class is released."""
        return self.class_thresholds.get(class_name, self.confidence_threshold)

    @property
    def ordered_splits(self) -> dict[str, float]:
        """The shares with `train` first and the others ordered by name, independent of the order in the file."""
        others = sorted(name for name in self.splits if name != TRAIN_SPLIT)
        return {name: self.splits[name] for name in (TRAIN_SPLIT, *others)}
