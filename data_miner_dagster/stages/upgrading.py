"""Describe what a project's next build redoes because this version differs from the one that built the project."""

from collections.abc import Mapping, Sequence
from typing import Final

from data_miner_dagster.domain.phrases import counted

_REDONE: Final[Mapping[str, str]] = {
    "scoring": "the similarities (from stored embeddings)",
    "filtering": "the filter decisions (from stored similarities)",
    "deduplication": "the duplicate groups (from stored vectors)",
    "detection": "the boxes (the detector examines every image again)",
    "releasing": "the release (as a new version)",
    "report": "the report",
}
"""The data to redo if a stage's version has changed, in stage order. All later stages are redone, too."""

_OF_A_RELEASE: Final = ("releasing", "report")
_FROM_STORED_BOXES: Final = "the table of boxes (from stored boxes)"
_KEPT: Final[Mapping[str, str]] = {
    "scoring": "similarities",
    "filtering": "filter decisions",
    "deduplication": "duplicate groups",
    "detection": "boxes",
}


def describe_upgrade(
    project: str, made_by: Mapping[str, int], current: Mapping[str, int], releases: Sequence[str]
) -> str | None:
    """Return one line that states what the next build redoes, why, and what it keeps, or None if no version differs.

    Args:
        project: the name of the project.
        made_by: the stage versions that produced the project's data.
        current: this package's versions of the same stages.
        releases: the release versions published so far. Without releases, no release or report is redone.
    """
    stages = [stage for stage in _REDONE if releases or stage not in _OF_A_RELEASE]
    changed = [stage for stage in stages if made_by[stage] != current[stage]]
    if not changed:
        return None
    again = stages[stages.index(changed[0]) :]
    redone = [
        _FROM_STORED_BOXES if stage == "detection" and stage not in changed else _REDONE[stage] for stage in again
    ]
    kept = ["downloads", "frames", "embeddings"]
    kept += [noun for stage, noun in _KEPT.items() if stage not in again]
    if releases:
        kept.append(f"earlier releases ({', '.join(releases)})")
    reasons = ", ".join(f"{stage} version {made_by[stage]} is now {current[stage]}" for stage in changed)
    return (
        f"{project} was built by another version of this package ({reasons}); its next build redoes {_listed(redone)}, "
        f"and keeps {_listed(kept)}"
    )


def describe_earlier_frames(num_videos_by_version: Mapping[int, int], current: int) -> str | None:
    """Return a line about videos with frames from earlier extraction versions, or None if there are no such videos.

    `num_videos_by_version` counts these videos by extraction version, and `current` is the version now in use.
    """
    if not num_videos_by_version:
        return None
    made = ", ".join(f"{number} by version {version}" for version, number in num_videos_by_version.items())
    num_videos = sum(num_videos_by_version.values())
    return (
        f"the frames of {counted(num_videos, 'video')} were extracted by an earlier version ({made}; this is version "
        f"{current}); they will be extracted and embedded again, and their projects will then be rebuilt"
    )


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
