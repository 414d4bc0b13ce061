"""Settings for where to look for videos, and for the candidates to reject before a download."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.objects import BucketUrls
from data_miner_dagster.config.words import Day, visible_text
from data_miner_dagster.domain.addresses import advice_for, secret_in_address
from data_miner_dagster.domain.object_urls import HUB_REMEDY, is_hub_address, is_object_address


def _outside_buckets(texts: tuple[str, ...]) -> tuple[str, ...]:
    for number, text in enumerate(texts, 1):
        if is_hub_address(text):
            raise ValueError(f"entry {number} {HUB_REMEDY}")
        if is_object_address(text):
            raise ValueError(f"entry {number} is the address of a bucket; use a source with `type: objects`")
    return texts


_LocalPaths = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_outside_buckets)]


def _without_secrets(urls: tuple[str, ...]) -> tuple[str, ...]:
    # Check the list as a whole: a check of each entry would repeat the address in the message.
    for number, url in enumerate(urls, 1):
        if secret := secret_in_address(url):
            raise ValueError(f"address {number} {advice_for(secret)}")
    return urls


_Urls = Annotated[
    tuple[str, ...], Field(min_length=1), AfterValidator(_outside_buckets), AfterValidator(_without_secrets)
]


def _check_days(after: date | None, before: date | None, *, after_key: str, before_key: str) -> None:
    # `before` is exclusive, so that two equal days also exclude every upload date.
    if after is not None and before is not None and after >= before:
        raise ValueError(
            f"{after_key} ({after}) is not before {before_key} ({before}), so every upload date is excluded; correct "
            "one of them"
        )


def _folded(word: str) -> str:
    return " ".join(word.casefold().split())


class FilesSource(ConfigModel):
    """Local video files: paths, folders (searched recursively) and globs, relative to the project file."""

    type: Literal["files"]
    paths: _LocalPaths
    """Files, folders or globs."""


class FramesSource(ConfigModel):
    """Folders of pictures (JPEG, PNG, WebP or BMP). Each folder is treated as a video with one frame per second."""

    type: Literal["frames"]
    folders: _LocalPaths
    """Folders or globs of folders, relative to the project file."""


class ObjectsSource(ConfigModel):
    """Videos in buckets. `platform.objects.stores` has the connection settings."""

    type: Literal["objects"]
    urls: BucketUrls
    """The addresses: `s3://bucket/clip.mp4` for one video (with any extension), or `s3://bucket/folder` for all videos
    below it. `gs://` and `az://` work in the same way. Credentials and patterns are not allowed."""


class UrlsSource(ConfigModel):
    """Addresses of single videos, or of anything that yt-dlp accepts."""

    type: Literal["urls"]
    urls: _Urls
    """The addresses. Use `{env:NAME}` for a secret, which is then kept out of the catalog."""


class UrlFilesSource(ConfigModel):
    """Text files with one address per line. `#` starts a comment."""

    type: Literal["url_files"]
    paths: _LocalPaths
    """Files or globs of files, relative to the project file."""
    max_per_url: int | None = Field(default=None, ge=1)
    """The most videos to take from an address that lists several."""


class SearchSource(ConfigModel):
    """Searches on a site."""

    type: Literal["search"]
    queries: tuple[Annotated[str, AfterValidator(visible_text)], ...] = ()
    """The words to search for, one entry per search."""
    query_files: tuple[str, ...] = ()
    """YAML files, relative to the project file. Each is a list of queries, or of `{query: ..., max_results: ...}`."""
    site: Literal["youtube", "youtube_newest", "google_video", "bilibili", "niconico", "yahoo"] = "youtube"
    """The site to search."""
    max_results: int = Field(default=50, ge=1, le=1000)
    """The most results per query."""

    @model_validator(mode="after")
    def _check_queries(self) -> Self:
        if not self.queries and not self.query_files:
            raise ValueError("`queries` and `query_files` are both empty; give at least one of them")
        return self


class HashtagsSource(ConfigModel):
    """YouTube hashtags."""

    type: Literal["hashtags"]
    hashtags: tuple[Annotated[str, AfterValidator(visible_text)], ...] = Field(min_length=1)
    """The hashtags, with or without `#`."""
    max_results: int = Field(default=100, ge=1, le=5000)
    """The most results per hashtag."""


class PlaylistsSource(ConfigModel):
    """Playlists on any site."""

    type: Literal["playlists"]
    urls: _Urls
    """The addresses of the playlists."""
    max_results: int | None = Field(default=None, ge=1)
    """The most videos per playlist, from its beginning."""


class ChannelsSource(ConfigModel):
    """Channels or users. Their videos are listed from newest to oldest."""

    type: Literal["channels"]
    urls: _Urls
    """The addresses of the channels, or YouTube handles such as `@name`."""
    published_after: Day | None = None
    """Videos from before this day are left out, and listing stops at the first of them."""
    published_before: Day | None = None
    """Videos from this day or later are left out."""
    only_new: bool = False
    """When a channel is listed again, stop at the first videos that are already in the project."""
    max_results: int | None = Field(default=None, ge=1)
    """The most videos per channel, from the newest."""

    @model_validator(mode="after")
    def _check_published(self) -> Self:
        _check_days(
            self.published_after, self.published_before, after_key="published_after", before_key="published_before"
        )
        return self


class FeedsSource(ConfigModel):
    """RSS feeds."""

    type: Literal["feeds"]
    urls: _Urls
    """The addresses of the feeds."""
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
    """Rules for candidates, applied before the download: at listing, and again after reading the candidate's page.

    At listing, a candidate with an unknown value passes the rule for that value. Once the page has
    been read, the rule for licences is stricter: it rejects an unknown licence.
    """

    min_duration_seconds: float | None = Field(default=None, ge=0)
    """Videos shorter than this are rejected."""
    max_duration_seconds: float | None = Field(default=None, gt=0)
    """Videos longer than this are rejected."""
    published_after: Day | None = None
    """Videos uploaded before this day are rejected."""
    published_before: Day | None = None
    """Videos uploaded on this day or later are rejected."""
    min_views: int | None = Field(default=None, ge=0)
    """Videos with fewer views than this are rejected."""
    max_views: int | None = Field(default=None, ge=0)
    """Videos with more views than this are rejected."""
    reject_live: bool = True
    """Live and announced videos are rejected; they may be listed again later."""
    min_height: int | None = Field(default=None, ge=1)
    """Videos that are less than this many pixels high are rejected."""
    languages: tuple[str, ...] = ()
    """If given, only videos in these languages are accepted (`en` includes `en-GB`)."""
    licences: tuple[str, ...] = ()
    """If given, only videos whose licence contains one of these texts are accepted, such as `creative commons`. Case is
    ignored."""
    required_words: tuple[str, ...] = ()
    """If given, the title, description or tags must contain at least one of these words or phrases. Only whole
    words match, and case is ignored."""
    blocked_words: tuple[str, ...] = ()
    """Videos whose title, description or tags contain one of these words or phrases are rejected. Only whole words
    match, and case is ignored."""
    blocked_hashtags: tuple[str, ...] = ()
    """Hashtags whose videos are rejected, with or without `#`. They match whole tags: `art` does not block `#cart`."""
    blocked_hashtags_file: str | None = None
    """A file of blocked hashtags, one per line, relative to the project file. `#` followed by a space starts a comment.
    """
    blocked_channels: tuple[str, ...] = ()
    """Names or ids of channels whose videos are rejected. Case is ignored."""
    blocked_channels_file: str | None = None
    """A file of blocked channels, one per line, relative to the project file."""
    skip_reuploads: bool = False
    """Reject a video if, after the download, it has the same bytes as another video of this project, or the same
    pictures and duration. The rejected video is neither extracted nor embedded. If the other video becomes unusable,
    this one replaces it in the same split."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for low, high in (
            ("min_duration_seconds", "max_duration_seconds"),
            ("min_views", "max_views"),
        ):
            lower, upper = getattr(self, low), getattr(self, high)
            if lower is not None and upper is not None and lower > upper:
                raise ValueError(f"{low} ({lower}) is above {high} ({upper}); correct one of them")
        _check_days(
            self.published_after, self.published_before, after_key="published_after", before_key="published_before"
        )
        return self

    @model_validator(mode="after")
    def _check_words(self) -> Self:
        blocked = {_folded(word) for word in self.blocked_words}
        if self.required_words and blocked.issuperset(map(_folded, self.required_words)):
            raise ValueError(
                f"every word of required_words ({', '.join(self.required_words)}) is also in blocked_words, so no "
                "title or description is accepted; remove at least one of these words from blocked_words"
            )
        return self


class PrescreeningConfig(ConfigModel):
    """The `sourcing.prescreening` section: compare a candidate's thumbnails with the prompts before downloading it."""

    enabled: bool = False
    """Whether to prescreen candidates. Off by default, since a thumbnail may not show what is in a video."""
    threshold: float | None = Field(default=None, ge=-1, le=1)
    """Candidates whose best picture is less similar than this to every positive prompt are rejected. Default: the
    filter's own threshold minus `slack`."""
    slack: float = Field(default=0.05, ge=0, le=2)
    """The amount by which a picture's similarity may be below the filter's threshold, unless `threshold` is set."""
    storyboards: bool = False
    """Also compare storyboards if the site has them, at the cost of reading the candidate's page once more."""
    max_pictures: int = Field(default=4, ge=1, le=16)
    """The most thumbnails and storyboard pictures to compare per candidate."""


class SourcingConfig(ConfigModel):
    """The `sourcing` section of a project."""

    sources: tuple[Source, ...] = Field(min_length=1)
    """The sources to list, in order. The first source that finds a video is recorded as its origin."""
    rules: RulesConfig = RulesConfig()
    """Which candidates to reject before a download."""
    prescreening: PrescreeningConfig = PrescreeningConfig()
    """Which candidates to reject by their thumbnails."""
    max_videos: int | None = Field(default=None, ge=1)
    """The most videos that the project may have. Further candidates are recorded as rejected."""

    @model_validator(mode="after")
    def _check_days_of_channels(self) -> Self:
        for number, source in enumerate(self.sources):
            if isinstance(source, ChannelsSource):
                key, rules = f"sources.{number}", self.rules
                _check_days(
                    source.published_after,
                    rules.published_before,
                    after_key=f"{key}.published_after",
                    before_key="rules.published_before",
                )
                _check_days(
                    rules.published_after,
                    source.published_before,
                    after_key="rules.published_after",
                    before_key=f"{key}.published_before",
                )
        return self
