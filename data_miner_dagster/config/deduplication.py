"""Settings for which frames count as near-duplicates."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from data_miner_dagster.config.base import ConfigModel, Threshold
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.keys import check_project_name


def _checked_name(name: str) -> str:
    try:
        return check_project_name(name)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _checked_release(release: str) -> str:
    project, separator, version = release.partition("/")
    if not separator:
        raise ValueError(f"{release!r} is not the name of a release; write project/version, such as street/v001")
    try:
        return f"{_checked_name(project)}/{check_project_name(version)}"
    except ConfigError as error:
        raise ValueError(f"the version {version!r} is not valid; write one such as v001") from error


class DeduplicationConfig(ConfigModel):
    """The `deduplication` section of a project."""

    threshold: Threshold | None = None
    """The lowest cosine similarity at which two frames are near-duplicates, or one value per encoder. Default: the
    encoder's own value."""
    encoder: Literal["dedup", "filter"] = "dedup"
    """The encoder whose embeddings are compared. `dedup`: `platform.models.dedup_encoder`. `filter`: the encoder of
    filtering, whose embeddings already exist."""
    perceptual_hash_distance: int = Field(default=4, ge=0, le=64)
    """Frames are also near-duplicates if their perceptual hashes differ in at most this many of 64 bits. 0: only if the
    hashes are equal."""
    perceptual_hash_minimum_contrast: float = Field(default=20.0, ge=0, le=256)
    """Compare hashes only if both frames have at least this contrast (standard deviation of luma, 0 to 255). 256:
    never."""
    same_place: Literal["within_videos", "everywhere", "nowhere"] = "within_videos"
    """Where to keep near-duplicates that show the same fixed view after something in it has changed. `everywhere`: also
    between videos, for one camera whose footage is in several files. `nowhere`: such frames are not kept."""
    against_projects: tuple[Annotated[str, AfterValidator(_checked_name)], ...] = ()
    """Frames that are near-duplicates of a representative of these other projects count as duplicates too."""
    against_releases: tuple[Annotated[str, AfterValidator(_checked_release)], ...] = ()
    """Frames that are near-duplicates of an image in these releases, named `project/version`, count as duplicates too.
    May include this project's own releases."""
    exact_up_to_frames: int = Field(default=300_000, ge=1)
    """Up to about this many frames, compare every pair. Beyond that, use a clustered index and measure its recall."""
    minimum_recall: float = Field(default=0.99, gt=0, le=1)
    """Tune the clustered index until it finds this share of the near-duplicates in a sample."""
    reupload_share: float = Field(default=0.8, gt=0, le=1)
    """Report a video as a re-upload if at least this share of its kept frames is found, in order, in another video."""
    reupload_minimum_pictures: int = Field(default=3, ge=1)
    """Report a re-upload only if the match spans at least this many different pictures, since a still image proves
    nothing."""
