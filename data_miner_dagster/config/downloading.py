"""How videos are fetched. Platform-wide: a video is downloaded once for all projects."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.domain.secret_names import is_secret_name

_REFERENCE: Final = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)")


def is_reference(text: str) -> bool:
    """Return whether a value is not itself, but names where it is: `env:NAME` or `file:PATH`."""
    return _REFERENCE.fullmatch(text) is not None


def _checked_reference(text: str) -> str:
    if not is_reference(text):
        raise ValueError("write env:NAME or file:PATH: a secret does not belong into a configuration file")
    return text


def _checked_proxy(text: str) -> str:
    if not is_reference(text) and ("@" in text or "://" not in text):
        raise ValueError("write scheme://host:port, or env:NAME or file:PATH where it holds a password")
    return text


Reference = Annotated[str, AfterValidator(_checked_reference)]
"""`env:NAME` or `file:PATH`."""


class BreakerConfig(ConfigModel):
    """The `platform.downloading.breaker` section: what happens after HTTP 429 or a bot check."""

    stops: Literal["all", "site"] = "site"
    """`site`: the downloads of that site wait. `all`: every download of every run."""
    open_seconds: float = Field(default=900, gt=0)
    """How long, at the least. Doubled each time it opens again without a download between."""
    max_open_seconds: float = Field(default=6 * 3600, gt=0)
    """The longest. A longer Retry-After of the server counts for its own site, up to a day."""


class PolitenessConfig(ConfigModel):
    """The `platform.downloading.politeness` section. Shared by all runs of a root, through the catalog."""

    min_sleep_seconds: float = Field(default=1.0, ge=0, le=3600)
    """The downloads of one site begin at least so far apart ..."""
    max_sleep_seconds: float = Field(default=4.0, ge=0, le=3600)
    """... and at most so far: the distance is drawn anew each time."""
    hourly_budget: int | None = Field(default=300, ge=1)
    """Downloads from one site in any 60 minutes. null: no budget."""
    daily_budget: int | None = Field(default=3000, ge=1)
    """Downloads from one site in any 24 hours. null: no budget."""
    concurrent_per_site: int = Field(default=4, ge=1, le=32)
    """Videos fetched at once from one site within one run."""
    spare_private_hosts: bool = True
    """No sleeps and no budgets for hosts of `allowed_private_hosts`: those are one's own."""
    respect_page_opt_outs: bool = True
    """Honour `noindex`, `noai`, `noimageai` and `tdm-reservation` of pages that no site-specific extractor knows."""

    @model_validator(mode="after")
    def _check_sleeps(self) -> Self:
        if self.max_sleep_seconds < self.min_sleep_seconds:
            raise ValueError("max_sleep_seconds is below min_sleep_seconds")
        return self


class DownloadingLimitsConfig(ConfigModel):
    """The `platform.downloading.limits` section: what reading what a site sends may cost.

    What is over a limit is given up with a reason, and stops nothing else.
    """

    max_cpu_seconds: float = Field(default=60.0, ge=1)
    """CPU time for one answer of a site: a page, a feed, a manifest."""
    max_memory_bytes: int = Field(default=2 << 30, ge=64 << 20)
    """Memory of the process that lists an address, or fetches a video, beyond what yt-dlp itself takes."""
    max_entries: int = Field(default=100_000, ge=1)
    """Entries taken of one playlist, channel or feed. Where a listing is cut short by it, that is said."""


class PoTokenConfig(ConfigModel):
    """The `platform.downloading.po_token` section: a provider of proof-of-origin tokens for YouTube."""

    url: str = Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")
    """The address of a server that speaks as bgutil-ytdlp-pot-provider does, such as `http://127.0.0.1:4416`. Its host
    must be one of `allowed_private_hosts`."""


class DownloadingConfig(ConfigModel):
    """The `platform.downloading` section."""

    max_height: int = Field(default=720, ge=64, le=4320)
    """The largest frame height to ask for, in pixels; the smallest format that reaches it is taken, h264 first."""
    include_audio: bool = False
    """Prefer a format that has sound as well. Nothing here listens to it."""
    max_size_bytes: int = Field(default=4_000_000_000, gt=0)
    """A larger file is refused."""
    max_duration_seconds: float = Field(default=6 * 3600, gt=0)
    """A longer video is refused."""
    max_pixels: int = Field(default=8192 * 4352, gt=0)
    """A video with more pixels a frame is refused before a frame of it is decoded."""
    max_wall_seconds: float = Field(default=3600, gt=0)
    """A download that takes longer is given up, and continued at its next attempt."""
    min_free_bytes: int = Field(default=2_000_000_000, ge=0)
    """No download begins with less space than this left under the root."""
    duration_tolerance: float = Field(default=0.1, ge=0, le=1)
    """How far, as a share, a file's duration may be from what its site says (2 seconds are always forgiven)."""
    allowed_private_hosts: tuple[str, ...] = ()
    """Hosts that may resolve to private or loopback addresses, such as "127.0.0.1"."""
    concurrent_downloads: int = Field(default=4, ge=1, le=32)
    """Videos fetched at once within one run."""
    socket_timeout_seconds: float = Field(default=20, gt=0, le=600)
    """A connection that is silent for so long has failed."""
    tries_per_run: int = Field(default=3, ge=1, le=10)
    """How often a passing failure (a dropped connection, HTTP 500) is tried within one run."""
    try_delay_seconds: float = Field(default=1.0, ge=0, le=600)
    """The pause before the second try within one run; doubled with each."""
    max_attempts: int = Field(default=8, ge=1)
    """Runs after which `status` counts a video that keeps failing in a passing way as stuck. It is tried again all the
    same."""
    backoff_seconds: float = Field(default=30, ge=0)
    """The delay after the first failed run; doubled with each, up to `max_backoff_seconds`."""
    max_backoff_seconds: float = Field(default=6 * 3600, ge=0)
    """The longest such delay: what may pass is tried again at least so often, for ever."""
    unavailable_retry_days: float | None = Field(default=30, gt=0)
    """A private, removed or blocked video is looked at again after so long. null: never by itself."""
    limits: DownloadingLimitsConfig = DownloadingLimitsConfig()
    """What one video, or one listing, may cost."""
    politeness: PolitenessConfig = PolitenessConfig()
    """Sleeps and budgets."""
    breaker: BreakerConfig = BreakerConfig()
    """What stops the queue."""
    user_agent: str | None = Field(default=None, max_length=300)
    """Sent to sites that do not need one of their own. Default: this program's name and version, and yt-dlp's."""
    cookies: Reference | None = None
    """A cookie file in Netscape format: `file:PATH`, or `env:NAME` of a variable that holds its path."""
    cookies_from_browser: str | None = Field(
        default=None, pattern=r"^(brave|chrome|chromium|edge|firefox|opera|safari|vivaldi|whale)(:[^:]+)?$"
    )
    """`firefox`, or `firefox:PROFILE`: the cookies of a browser on this machine."""
    proxy: Annotated[str, AfterValidator(_checked_proxy)] | None = None
    """`http://host:port` or `socks5h://host:port`; `env:NAME` or `file:PATH` where it holds a password."""
    extractor_args: Mapping[str, Mapping[str, tuple[str, ...]]] = Field(default_factory=dict)
    """yt-dlp's extractor arguments, such as `{youtube: {po_token: ["env:PO_TOKEN"]}}`. Each value may be `env:NAME` or
    `file:PATH`; one that holds a token must be."""
    po_token: PoTokenConfig | None = None
    """Where YouTube's proof-of-origin tokens come from."""
    local_files: Literal["copy", "hardlink"] = "copy"
    """`copy` shares blocks where the file system can, and is safe from later edits. `hardlink` takes no space, but an
    edit in place of the original changes the platform's file too."""

    @model_validator(mode="after")
    def _check_po_token(self) -> Self:
        if self.po_token is not None:
            host = (urlsplit(self.po_token.url).hostname or "").lower()
            if host not in {allowed.lower() for allowed in self.allowed_private_hosts}:
                raise ValueError(f"po_token.url: add its host {host!r} to platform.downloading.allowed_private_hosts")
        return self

    @model_validator(mode="after")
    def _check_extractor_args(self) -> Self:
        for extractor, arguments in self.extractor_args.items():
            for name, values in arguments.items():
                if is_secret_name(name) and not all(map(is_reference, values)):
                    raise ValueError(f"extractor_args.{extractor}.{name}: write env:NAME or file:PATH, not the secret")
        return self
