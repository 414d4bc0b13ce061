"""Requests to the workers of extraction, and their answers. Does not import any decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from data_miner_dagster.config.extraction import ExtractionConfig

JOBS_MODULE: Final = "data_miner_dagster.operations.extraction.jobs"
_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class FrameFolderJob:
    """A request to make a folder of frames from a video, or from the pictures that represent one.

    `folder` exists and is empty.
    """

    video_key: str
    video_path: Path  # ignored if there are `picture_paths`
    folder: Path
    fingerprint: str
    config: ExtractionConfig
    num_threads: int = 1
    picture_paths: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameFolderSummary:
    """The result of making a folder of frames.

    `num_unmet` targets could not be decoded, and `num_decode_errors` packets were damaged. `left_out` names the
    pictures of a folder that were left out, each with the reason.
    """

    num_frames: int
    num_source_frames: int
    num_decoded: int
    num_unmet: int
    num_decode_errors: int
    size_bytes: int
    num_frames_by_flag: Mapping[str, int] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    def as_metadata(self) -> dict[str, int | float | str]:
        """Return the counts to show to users, and the reasons for the first pictures that were left out."""
        values = asdict(self)
        by_flag, left_out = values.pop("num_frames_by_flag"), values.pop("left_out")
        shown = {f"num_{flag}": count for flag, count in sorted(by_flag.items())}
        if left_out:
            more = f" and {len(left_out) - _MOST_NAMED} more" if len(left_out) > _MOST_NAMED else ""
            shown["left_out"] = "; ".join(left_out[:_MOST_NAMED]) + more
        return {**values, **shown}


@dataclass(frozen=True, slots=True)
class WindowsJob:
    """A request to store the pictures that a video shows at given times. `folder` exists and is empty.

    Times are in microseconds of the video. `steps_us` request whole clips, with a picture at every multiple of a step.
    """

    video_path: Path
    folder: Path
    fingerprint: str
    config: ExtractionConfig
    num_threads: int
    times_us: tuple[int, ...]
    steps_us: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WindowsSummary:
    """The result of storing windows. `num_unmet` pictures could not be decoded."""

    num_pictures: int
    num_decoded: int
    num_unmet: int
    size_bytes: int
