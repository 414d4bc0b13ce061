"""Where to look for videos, and which to turn down before a download."""

from typing import Annotated, Literal

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class FilesSource(ConfigModel):
    """Local video files: paths, folders (searched recursively) and globs. Relative to the project file."""

    type: Literal["files"]
    paths: tuple[str, ...] = Field(min_length=1)
    """Paths, folders or globs."""


class UrlsSource(ConfigModel):
    """Addresses of single videos, or of anything yt-dlp takes."""

    type: Literal["urls"]
    urls: tuple[str, ...] = Field(min_length=1)
    """The addresses."""


Source = Annotated[FilesSource | UrlsSource, Field(discriminator="type")]


class RulesConfig(ConfigModel):
    """Rules applied to a candidate before its download. A candidate whose value is unknown passes."""

    min_duration_seconds: float | None = Field(default=None, ge=0)
    """Shorter videos are rejected."""
    max_duration_seconds: float | None = Field(default=None, gt=0)
    """Longer videos are rejected."""


class SourcingConfig(ConfigModel):
    """The `sourcing` section of a project."""

    sources: tuple[Source, ...] = Field(min_length=1)
    """Where to look, in order: the first source to find a video is named as its origin."""
    rules: RulesConfig = RulesConfig()
    """Which candidates to turn down before a download."""
    max_videos: int | None = Field(default=None, ge=1)
    """At most this many videos; the rest are recorded as rejected."""
