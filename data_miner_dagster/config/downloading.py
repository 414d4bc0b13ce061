"""Settings for downloading videos. They are platform-wide because a video is downloaded once for all projects."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.domain.secret_names import is_secret_name

_REFERENCE: Final = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)")


def is_reference(text: str) -> bool:
    """Return whether a setting has the form `env:NAME` or `file:PATH`, which refers to a value stored elsewhere."""
    return _REFERENCE.fullmatch(text) is not None


def _checked_reference(text: str) -> str:
    if not is_reference(text):
        raise ValueError("must be env:NAME or file:PATH, since secrets do not belong in a configuration file")
    return text


def _checked_proxy(text: str) -> str:
    if not is_reference(text) and ("@" in text or "://" not in text):
        raise ValueError("must be scheme://host:port, or env:NAME or file:PATH if the address contains a password")
    return text


Reference = Annotated[str, AfterValidator(_checked_reference)]
"""`env:NAME` or `file:PATH`."""


class BreakerConfig(ConfigModel):
    """The `platform.downloading.breaker` section: the reaction to HTTP 429 and bot checks."""

    stops: Literal["all", "site"] = "site"
    """The requests to pause, in all runs. `site`: those to the site that refused a request. `all`: those to every site.
    """
    open_seconds: float = Field(default=900, gt=0)
    """The shortest pause. It doubles each time the breaker opens again without a successful download in between."""
    max_open_seconds: float = Field(default=6 * 3600, gt=0)
    """The longest pause. With `stops: site`, a site that sends a longer Retry-After is paused for that time, up to one
    day."""


class PolitenessConfig(ConfigModel):
    """The `platform.downloading.politeness` section. All runs of a root share these limits through the catalog."""

    min_sleep_seconds: float = Field(default=1.0, ge=0, le=3600)
    """The shortest interval between the starts of two downloads from one site."""
    max_sleep_seconds: float = Field(default=4.0, ge=0, le=3600)
    """The longest interval between two starts. Each interval is drawn at random."""
    hourly_budget: int | None = Field(default=300, ge=1)
    """The most downloads from one site in any 60 minutes. null: no budget."""
    daily_budget: int | None = Field(default=3000, ge=1)
    """The most downloads from one site in any 24 hours. null: no budget."""
    concurrent_per_site: int = Field(default=4, ge=1, le=32)
    """The most videos that one run fetches concurrently from one site."""
    spare_private_hosts: bool = True
    """Apply no pauses and no budgets to hosts in `allowed_private_hosts`, since these are your own."""
    respect_page_opt_outs: bool = True
    """Respect `noindex`, `noai`, `noimageai` and `tdm-reservation` on pages without a site-specific extractor."""

    @model_validator(mode="after")
    def _check_sleeps(self) -> Self:
        if self.max_sleep_seconds < self.min_sleep_seconds:
            raise ValueError(
                f"max_sleep_seconds ({self.max_sleep_seconds:g}) is below min_sleep_seconds "
                f"({self.min_sleep_seconds:g}); raise the former or lower the latter"
            )
        return self


class DownloadingLimitsConfig(ConfigModel):
    """The `platform.downloading.limits` section: limits for processing data from a site.

    An item that exceeds a limit is abandoned, and the reason is stored. Other items are not affected.
    """

    max_cpu_seconds: float = Field(default=60.0, ge=1)
    """The most CPU time for processing one response of a site, such as a page, a feed or a manifest."""
    max_memory_bytes: int = Field(default=2 << 30, ge=64 << 20)
    """The most memory that the process that lists an address or fetches a video may use, in addition to the memory that
    yt-dlp itself needs."""
    max_entries: int = Field(default=100_000, ge=1)
    """The most entries to read from one playlist, channel or feed. A listing that is cut short is reported."""


class PoTokenConfig(ConfigModel):
    """The `platform.downloading.po_token` section: a provider of proof-of-origin tokens for YouTube."""

    url: str = Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")
    """The URL of a server with the API of bgutil-ytdlp-pot-provider, such as `http://127.0.0.1:4416`. Its host must be
    in `allowed_private_hosts`."""


class DownloadingConfig(ConfigModel):
    """The `platform.downloading` section."""

    max_height: int = Field(default=720, ge=64, le=4320)
    """The frame height to request, in pixels. The tallest format up to this height is used, preferably h264, or the
    shortest one if all formats are taller."""
    include_audio: bool = False
    """Prefer a format with sound. No stage uses the sound."""
    max_size_bytes: int = Field(default=4_000_000_000, gt=0)
    """Files larger than this are refused."""
    max_duration_seconds: float = Field(default=6 * 3600, gt=0)
    """Videos longer than this are refused."""
    max_pixels: int = Field(default=8192 * 4352, gt=0)
    """Videos with more pixels per frame than this are refused before any frame is decoded."""
    max_wall_seconds: float = Field(default=3600, gt=0)
    """A download that takes longer than this is stopped, and resumed at its next attempt."""
    min_free_bytes: int = Field(default=2_000_000_000, ge=0)
    """No download starts if the root's disk has less free space than this."""
    duration_tolerance: float = Field(default=0.1, ge=0, le=1)
    """The fraction by which a file's duration may differ from the duration that the site states. A difference of up to
    2 seconds is always tolerated."""
    allowed_private_hosts: tuple[str, ...] = ()
    """Hosts that may resolve to private or loopback addresses, such as "127.0.0.1"."""
    concurrent_downloads: int = Field(default=4, ge=1, le=32)
    """The most videos that one run fetches concurrently."""
    socket_timeout_seconds: float = Field(default=20, gt=0, le=600)
    """A connection that is silent for this long counts as failed."""
    tries_per_run: int = Field(default=3, ge=1, le=10)
    """The number of tries within one run for a download that ends before its file is complete, or fails for a reason
    that may pass, such as HTTP 500. After that, a later run tries again."""
    try_delay_seconds: float = Field(default=1.0, ge=0, le=600)
    """The pause before the second try within one run. It doubles with each further try."""
    max_attempts: int = Field(default=8, ge=1)
    """After this many runs with transient failures, `status` counts a video as having failed repeatedly. It is still
    retried."""
    backoff_seconds: float = Field(default=30, ge=0)
    """The delay after the first failed run. It doubles with each further failure, up to `max_backoff_seconds`."""
    max_backoff_seconds: float = Field(default=6 * 3600, ge=0)
    """The longest delay between runs, unless a site requests a longer one, up to one day. Transient failures are
    retried without limit."""
    unavailable_retry_days: float | None = Field(default=30, gt=0)
    """A private, removed or blocked video is retried after this many days. null: never automatically."""
    limits: DownloadingLimitsConfig = DownloadingLimitsConfig()
    """Limits for one video or one listing."""
    politeness: PolitenessConfig = PolitenessConfig()
    """Pauses between downloads, and budgets."""
    breaker: BreakerConfig = BreakerConfig()
    """The reaction to HTTP 429 and bot checks."""
    user_agent: str | None = Field(default=None, max_length=300)
    """The User-Agent for sites that do not require a particular one. Default: the names and versions of this program
    and yt-dlp."""
    cookies: Reference | None = None
    """A cookie file in Netscape format: `file:PATH`, or `env:NAME` if a variable contains its path."""
    cookies_from_browser: str | None = Field(
        default=None, pattern=r"^(brave|chrome|chromium|edge|firefox|opera|safari|vivaldi|whale)(:[^:]+)?$"
    )
    """A browser on this machine whose cookies to use: `firefox`, or `firefox:PROFILE`."""
    proxy: Annotated[str, AfterValidator(_checked_proxy)] | None = None
    """The proxy: `http://host:port` or `socks5h://host:port`. Use `env:NAME` or `file:PATH` if it contains a password.
    """
    extractor_args: Mapping[str, Mapping[str, tuple[str, ...]]] = Field(default_factory=dict)
    """Arguments for yt-dlp's extractors, such as `{youtube: {po_token: ["env:PO_TOKEN"]}}`. A value may be `env:NAME`
    or `file:PATH`. A token must have one of these forms."""
    po_token: PoTokenConfig | None = None
    """The provider of YouTube's proof-of-origin tokens."""
    local_files: Literal["copy", "hardlink"] = "copy"
    """How to take local video files into the root. `copy` shares blocks if the file system can, and is safe from later
    edits. `hardlink` takes no space, but editing the original in place also changes the platform's file."""

    @model_validator(mode="after")
    def _check_po_token(self) -> Self:
        if self.po_token is not None:
            host = (urlsplit(self.po_token.url).hostname or "").lower()
            if host not in {allowed.lower() for allowed in self.allowed_private_hosts}:
                raise ValueError(
                    f"po_token.url: the host {host!r} is not in platform.downloading.allowed_private_hosts; add it"
                )
        return self

    @model_validator(mode="after")
    def _check_extractor_args(self) -> Self:
        for extractor, arguments in self.extractor_args.items():
            for name, values in arguments.items():
                if is_secret_name(name) and not all(map(is_reference, values)):
                    raise ValueError(
                        f"extractor_args.{extractor}.{name} contains a secret; write env:NAME or file:PATH instead"
                    )
        return self
