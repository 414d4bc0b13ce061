"""Where to look for videos, and which to reject before a download."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.objects import BucketUrls
from data_miner_dagster.config.words import Day
from data_miner_dagster.domain.addresses import advice_for, secret_in_address
from data_miner_dagster.domain.object_urls import is_object_address


def _outside_buckets(texts: tuple[str, ...]) -> tuple[str, ...]:
    for number, text in enumerate(texts):
        if is_object_address(text):
            raise ValueError(f"entry {number} is an address of a bucket: write a source with `type: objects`")
    return texts


_LocalPaths = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_outside_buckets)]


def _without_secrets(urls: tuple[str, ...]) -> tuple[str, ...]:
    # Check the whole list and not each entry, since the message must not repeat the address.
    for number, url in enumerate(urls):
        if secret := secret_in_address(url):
            raise ValueError(f"address {number} {advice_for(secret)}")
    return urls


_Urls = Annotated[
    tuple[str, ...], Field(min_length=1), AfterValidator(_outside_buckets), AfterValidator(_without_secrets)
]


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


class ObjectsSource(ConfigModel):
    """Videos in buckets. `platform.objects.stores` says how they are reached."""

    type: Literal["objects"]
    urls: BucketUrls
    """`s3://bucket/clip.mp4` for one video (its ending does not matter), `s3://bucket/folder` for all videos below
    it; `gs://` and `az://` likewise. Neither credentials nor patterns."""


class UrlsSource(ConfigModel):
    """Addresses of single videos, or of anything that yt-dlp accepts."""

    type: Literal["urls"]
    urls: _Urls
    """The addresses. Use `{env:NAME}` for a secret, which is then kept out of the catalog."""


class UrlFilesSource(ConfigModel):
    """Text files with one address per line. `#` starts a comment."""

    type: Literal["url_files"]
    paths: _LocalPaths
    """Files, or globs of files. Relative to the project file."""
    max_per_url: int | None = Field(default=None, ge=1)
    """The most videos to take from an address that lists several."""


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
    """The most results per query."""

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
    """The most results per hashtag."""


class PlaylistsSource(ConfigModel):
    """Playlists of any site."""

    type: Literal["playlists"]
    urls: _Urls
    """Their addresses."""
    max_results: int | None = Field(default=None, ge=1)
    """The most videos per playlist, from its beginning."""


class ChannelsSource(ConfigModel):
    """Channels or users, newest first."""

    type: Literal["channels"]
    urls: _Urls
    """Their addresses, or YouTube handles such as `@name`."""
    published_after: Day | None = None
    """Older videos are left out, and listing stops at the first of them."""
    published_before: Day | None = None
    """Videos from this day or later are left out."""
    only_new: bool = False
    """When listing again, stop at the first videos that the project already knows."""
    max_results: int | None = Field(default=None, ge=1)
    """The most videos per channel, from the newest."""


class FeedsSource(ConfigModel):
    """RSS feeds."""

    type: Literal["feeds"]
    urls: _Urls
    """Their addresses."""
    max_results: int | None = Field(default=None, ge=1)
    """The most entries per feed, from its beginning."""


Source = Annotated[
    FilesSource
    | FramesSource
    | ObjectsSource
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
    """Rules for candidates before their download, applied when a candidate is listed and again after reading its page.

    An unknown value passes at listing. After the page has been read, only the licence must be known.
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
    """Videos with fewer views are rejected."""
    max_views: int | None = Field(default=None, ge=0)
    """Videos with more views are rejected."""
    reject_live: bool = True
    """Live and announced videos are rejected; they may be listed again later."""
    min_height: int | None = Field(default=None, ge=1)
    """Videos not offered at this height, in pixels, are rejected."""
    languages: tuple[str, ...] = ()
    """If given, only videos in these languages (`en` includes `en-GB`)."""
    licences: tuple[str, ...] = ()
    """If given, only licences that contain one of these, such as `creative commons`. Ignores case."""
    required_words: tuple[str, ...] = ()
    """If given, title, description or tags must contain at least one of these. Matches whole words, ignoring case."""
    blocked_words: tuple[str, ...] = ()
    """Videos whose title, description or tags contain one of these words are rejected."""
    blocked_hashtags: tuple[str, ...] = ()
    """Whole tags, with or without `#`: `art` does not block `#cart`."""
    blocked_hashtags_file: str | None = None
    """One tag per line; `#` followed by a space starts a comment. Relative to the project file."""
    blocked_channels: tuple[str, ...] = ()
    """Names or ids of channels."""
    blocked_channels_file: str | None = None
    """One channel per line. Relative to the project file."""
    skip_reuploads: bool = False
    """Reject a video that proves, once downloaded, to be the same as another one of this project: equal bytes, or the
    same pictures and duration. It is neither extracted nor embedded, and stays in the split of the other video. It is
    taken after all if the other one cannot be used."""

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
    """Off by default: a thumbnail may not show what is in a video."""
    threshold: float | None = Field(default=None, ge=-1, le=1)
    """Candidates whose best picture is less similar than this to every positive prompt are rejected. Default: the
    filter's own threshold minus `slack`."""
    slack: float = Field(default=0.05, ge=0, le=2)
    """How far below the filter's threshold a picture may be."""
    storyboards: bool = False
    """Also score storyboards if the site has them, at the cost of reading the candidate's page once more."""
    max_pictures: int = Field(default=4, ge=1, le=16)
    """The most thumbnails and storyboard pictures to score per candidate."""


class SourcingConfig(ConfigModel):
    """The `sourcing` section of a project."""

    sources: tuple[Source, ...] = Field(min_length=1)
    """Where to look, in order. The first source to find a video is recorded as its origin."""
    rules: RulesConfig = RulesConfig()
    """Which candidates to reject before a download."""
    prescreening: PrescreeningConfig = PrescreeningConfig()
    """Which candidates to reject by their thumbnails."""
    max_videos: int | None = Field(default=None, ge=1)
    """At most this many videos; the rest are recorded as rejected."""
