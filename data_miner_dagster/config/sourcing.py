"""Where to look for videos, and which to turn down before a download."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.words import Day
from data_miner_dagster.domain.addresses import advice_for, secret_in_address

_LocalPaths = Annotated[tuple[str, ...], Field(min_length=1)]


def _without_secrets(urls: tuple[str, ...]) -> tuple[str, ...]:
    # The whole list is checked, not each entry: the message must not repeat the address.
    for number, url in enumerate(urls):
        if secret := secret_in_address(url):
            raise ValueError(f"address {number} {advice_for(secret)}")
    return urls


_Urls = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_without_secrets)]


class FilesSource(ConfigModel):
    """Local video files: paths, folders (searched recursively) and globs. Relative to the project file."""

    type: Literal["files"]
    paths: _LocalPaths
    """Paths, folders or globs."""


class FramesSource(ConfigModel):
    """Folders of pictures (`.jpg`, `.png`, `.webp`, `.bmp`). Each folder is one video, its frames a second apart."""

    type: Literal["frames"]
    folders: _LocalPaths
    """Folders, or globs of folders. Relative to the project file."""


class UrlsSource(ConfigModel):
    """Addresses of single videos, or of anything yt-dlp takes."""

    type: Literal["urls"]
    urls: _Urls
    """The addresses. `{env:NAME}` in one stands for a secret that is kept out of the catalog."""


class UrlFilesSource(ConfigModel):
    """Text files with an address a line. `#` begins a comment."""

    type: Literal["url_files"]
    paths: _LocalPaths
    """Files, or globs of files. Relative to the project file."""
    max_per_url: int | None = Field(default=None, ge=1)
    """Of an address that lists several videos, at most this many."""


class SearchSource(ConfigModel):
    """Words to search a site for."""

    type: Literal["search"]
    queries: tuple[str, ...] = ()
    """One search each."""
    query_files: tuple[str, ...] = ()
    """YAML files: a list of queries, or of `{query: ..., max_results: ...}`. Relative to the project file."""
    site: Literal["youtube", "youtube_newest", "google_video", "bilibili", "niconico", "yahoo"] = "youtube"
    """Where to search."""
    max_results: int = Field(default=50, ge=1, le=1000)
    """Of each query."""

    @model_validator(mode="after")
    def _check_queries(self) -> Self:
        if not self.queries and not self.query_files:
            raise ValueError("give `queries` or `query_files`")
        return self


class HashtagsSource(ConfigModel):
    """Hashtags of YouTube."""

    type: Literal["hashtags"]
    hashtags: tuple[str, ...] = Field(min_length=1)
    """With or without `#`."""
    max_results: int = Field(default=100, ge=1, le=5000)
    """Of each hashtag."""


class PlaylistsSource(ConfigModel):
    """Playlists of any site."""

    type: Literal["playlists"]
    urls: _Urls
    """Their addresses."""
    max_results: int | None = Field(default=None, ge=1)
    """Of each playlist, from its beginning."""


class ChannelsSource(ConfigModel):
    """Channels or users, newest first."""

    type: Literal["channels"]
    urls: _Urls
    """Their addresses; a YouTube handle such as `@name` will do."""
    published_after: Day | None = None
    """Older videos are left out; listing stops there."""
    published_before: Day | None = None
    """Videos of that day and younger ones are left out."""
    only_new: bool = False
    """Listing again stops at the first videos that the project knows already."""
    max_results: int | None = Field(default=None, ge=1)
    """Of each channel, from the newest."""


class FeedsSource(ConfigModel):
    """RSS feeds."""

    type: Literal["feeds"]
    urls: _Urls
    """Their addresses."""
    max_results: int | None = Field(default=None, ge=1)
    """Of each feed, from its beginning."""


Source = Annotated[
    FilesSource
    | FramesSource
    | UrlsSource
    | UrlFilesSource
    | SearchSource
    | HashtagsSource
    | PlaylistsSource
    | ChannelsSource
    | FeedsSource,
    Field(discriminator="type"),
]


class RulesConfig(ConfigModel):
    """Rules applied to a candidate before its download: when it is listed, and again when its page has been read.

    A value that is not known passes when listed. After the page was read only the licence must be known.
    """

    min_duration_seconds: float | None = Field(default=None, ge=0)
    """Shorter videos are rejected."""
    max_duration_seconds: float | None = Field(default=None, gt=0)
    """Longer videos are rejected."""
    published_after: Day | None = None
    """Videos uploaded before this day are rejected."""
    published_before: Day | None = None
    """Videos uploaded on this day or later are rejected."""
    min_views: int | None = Field(default=None, ge=0)
    """Videos seen less often are rejected."""
    max_views: int | None = Field(default=None, ge=0)
    """Videos seen more often are rejected."""
    reject_live: bool = True
    """Videos that are live, or announced, are rejected; they may be listed again later."""
    min_height: int | None = Field(default=None, ge=1)
    """Videos not offered at this height, in pixels, are rejected."""
    languages: tuple[str, ...] = ()
    """If given, only these (`en` stands for `en-GB` too)."""
    licences: tuple[str, ...] = ()
    """If given, only licences that contain one of these, such as `creative commons`; case does not matter."""
    required_words: tuple[str, ...] = ()
    """If given, title, description or tags contain at least one; whole words, case does not matter."""
    blocked_words: tuple[str, ...] = ()
    """Title, description and tags contain none."""
    blocked_hashtags: tuple[str, ...] = ()
    """Whole tags, with or without `#`: `art` does not block `#cart`."""
    blocked_hashtags_file: str | None = None
    """A tag a line, `#` followed by a space begins a comment. Relative to the project file."""
    blocked_channels: tuple[str, ...] = ()
    """Names or ids of channels."""
    blocked_channels_file: str | None = None
    """A channel a line. Relative to the project file."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for low, high in (
            ("min_duration_seconds", "max_duration_seconds"),
            ("published_after", "published_before"),
            ("min_views", "max_views"),
        ):
            lower, upper = getattr(self, low), getattr(self, high)
            if lower is not None and upper is not None and lower > upper:
                raise ValueError(f"{low} {lower} is above {high} {upper}")
        return self


class PrescreeningConfig(ConfigModel):
    """The `sourcing.prescreening` section: score pictures of a candidate before spending a download on it."""

    enabled: bool = False
    """Off by default: a thumbnail may not show what a video holds."""
    threshold: float | None = Field(default=None, ge=-1, le=1)
    """Candidates whose best picture resembles no positive prompt so much are rejected. Default: the filter's own
    threshold, less `slack`."""
    slack: float = Field(default=0.05, ge=0, le=2)
    """A picture must only come near what a frame must reach."""
    storyboards: bool = False
    """Look at storyboards too, where the site has them: costs one more reading of the candidate's page."""
    max_pictures: int = Field(default=4, ge=1, le=16)
    """Thumbnails and storyboard pictures looked at per candidate."""


class SourcingConfig(ConfigModel):
    """The `sourcing` section of a project."""

    sources: tuple[Source, ...] = Field(min_length=1)
    """Where to look, in order: the first source to find a video is named as its origin."""
    rules: RulesConfig = RulesConfig()
    """Which candidates to turn down before a download."""
    prescreening: PrescreeningConfig = PrescreeningConfig()
    """Which candidates to turn down by their thumbnails."""
    max_videos: int | None = Field(default=None, ge=1)
    """At most this many videos; the rest are recorded as rejected."""
