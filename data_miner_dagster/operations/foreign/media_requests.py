"""Define the requests to the extraction workers, and the workers' answers. This module imports no decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from data_miner_dagster.config.extraction import ExtractionConfig

JOBS_MODULE: Final = "data_miner_dagster.operations.extraction.jobs"
_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class FrameFolderJob:
    """A request to extract frames into `folder`, from a video file or from a folder of pictures.

    `folder` exists and is empty.
    """

    video_key: str
    video_path: Path  # ignored if there are `picture_paths`
    folder: Path
    fingerprint: str  # identifies the inputs of the frames, and is stored with them
    config: ExtractionConfig
    num_threads: int = 1
    picture_paths: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameFolderSummary:
    """The result of extracting frames into a folder.

    `num_source_frames` counts the frames of the video or the pictures in the folder. `num_unmet` counts the chosen
    frames or pictures that could not be stored, and `num_decode_errors` the undecodable packets and corrupt frames.
    `left_out` names the pictures in a folder that were left out, each with the reason.
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
        """Return the counts to show to users, and the first ten pictures that were left out, with the reasons."""
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

    Times and steps are in microseconds. Each step in `steps_us` requests the whole clip, with a picture at every
    multiple of the step.
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
    """The result of storing windows. `num_unmet` counts the pictures that could not be decoded."""

    num_pictures: int
    num_decoded: int
    num_unmet: int
    size_bytes: int
