"""The yt-dlp instance, which reaches the network only through the platform's handler, and its options.

No yt-dlp option is taken directly from outside. Each is set here, so that no configuration can smuggle in a
post-processor, a command or a file:// address.
"""

import io
import logging
import shutil
import sys
import urllib.parse
from pathlib import Path
from typing import Any, Final

import yt_dlp
from yt_dlp.extractor import gen_extractor_classes
from yt_dlp.extractor.generic import GenericIE as _GenericIE

from data_miner_dagster import __version__
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.secret_values import remember_secret
from data_miner_dagster.sites.hosts import has_numeric_host
from data_miner_dagster.sites.opt_outs import OptedOutError, opt_out_of
from data_miner_dagster.sites.redaction import redact
from data_miner_dagster.sites.references import cookie_file_text, resolve_reference
from data_miner_dagster.sites.transport import Guard, GuardedHandler
from data_miner_dagster.sites.versions import yt_dlp_version
from data_miner_dagster.sites.yt_dlp_limits import served_formats

logger = logging.getLogger(__name__)

USER_AGENT: Final = f"data-miner/{__version__} (yt-dlp/{yt_dlp_version()})"
_NO_FFMPEG: Final = "/nonexistent/ffmpeg"
"""The path of ffmpeg that yt-dlp gets. It does not exist, since ffmpeg would open its own connections and bypass the
address policy. Formats that need ffmpeg are not chosen."""


class GenericIE(_GenericIE):  # type: ignore[misc]
    """yt-dlp's generic extractor, extended to respect pages that opt out. yt-dlp uses the class name as its key."""

    def _request_webpage(self, *arguments: Any, **options: Any) -> Any:
        response = super()._request_webpage(*arguments, **options)
        self._check(response.headers, "") if response else None
        return response

    def _webpage_read_content(self, *arguments: Any, **options: Any) -> Any:
        html = super()._webpage_read_content(*arguments, **options)
        self._check({}, html if isinstance(html, str) else "")
        return html

    @staticmethod
    def _check(headers: Any, html: str) -> None:
        if directive := opt_out_of(headers, html):
            raise OptedOutError(directive)


class _Log:
    """A logger that forwards yt-dlp's messages at level DEBUG, without secrets."""

    def debug(self, message: str) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s", redact(message))

    info = warning = error = debug


class GuardedYoutubeDL(yt_dlp.YoutubeDL):  # type: ignore[misc]
    """A yt-dlp instance whose requests all obey a guard. It is not thread-safe: use one instance per thread.

    Raises:
        ConfigError: a reference in the configuration cannot be resolved, or yt-dlp's token interface is not supported
            although a token provider is configured.
    """

    def __init__(self, config: DownloadingConfig) -> None:
        self.guard = Guard(allowed_private_hosts=config.allowed_private_hosts)
        self.po_token_url = config.po_token.url if config.po_token is not None else None
        if self.po_token_url is not None:
            _register_token_provider()
        super().__init__(options_of(config), auto_init="no_verbose_header")
        if config.politeness.respect_page_opt_outs:
            self.add_info_extractor(GenericIE(self))

    def add_default_info_extractors(self) -> None:
        """Register all enabled extractors.

        yt-dlp's own method looks them up by name in quadratic time, which takes 70 ms.
        """
        by_name = {extractor.IE_NAME.lower(): extractor for extractor in gen_extractor_classes()}
        for extractor in by_name.values():
            if extractor._ENABLED:  # noqa: SLF001 - as in yt-dlp's own registration
                self.add_info_extractor(extractor)

    def build_request_director(self, _handlers: object, _preferences: object = None) -> Any:
        """Return a director whose only handler is the guarded one."""

        def guarded(**options: Any) -> GuardedHandler:
            return GuardedHandler(guard=self.guard, **options)

        return super().build_request_director([guarded], None)

    def process_video_result(self, info_dict: dict[str, Any], download: bool = True) -> Any:
        """Process a video after removing formats whose protocols are not allowed.

        Raises:
            ExtractorError: the video has formats, but none of them uses an allowed protocol.
        """
        return super().process_video_result(served_formats(info_dict), download)

    def extractor_for(self, url: str) -> Any:
        """Return the extractor for an address. The generic extractor accepts any address.

        A host that is an IP address gets the generic extractor immediately, without trying 1,800 patterns.
        """
        if has_numeric_host(url):
            return self._ies["Generic"]
        return next(extractor for extractor in self._ies.values() if extractor.suitable(url))


def is_of_a_site(extractor: Any) -> bool:
    """Return whether an extractor is specific to one site and uses that site's ids.

    The generic extractor, and those that search any page for elements, name videos after part of the page's address.
    """
    return extractor.ie_key() != "Generic" and extractor._VALID_URL is not False  # noqa: SLF001 - yt-dlp's own mark


def _register_token_provider() -> None:
    try:
        import data_miner_dagster.sites.po_tokens  # noqa: F401  # registers the provider; slow to import
    except ImportError as error:
        raise ConfigError(
            f"platform.downloading.po_token: this version of data-miner does not support the token interface of yt-dlp "
            f"{yt_dlp_version()} ({error}); remove the setting, or update data-miner"
        ) from None


def javascript_runtime() -> str | None:
    """Return the path of the JavaScript runtime that yt-dlp needs for YouTube, or None if there is none.

    `pip install 'yt-dlp[default,deno]'` installs one beside the interpreter, in a folder that need not be on PATH.
    """
    beside = Path(sys.executable).parent / "deno"
    return shutil.which("deno") or (str(beside) if beside.is_file() else None)


def format_wanted(config: DownloadingConfig) -> str:
    """Return the format selector for yt-dlp, which prefers formats of at most `max_height`.

    Formats with audio are preferred if `include_audio` is set, and formats without audio otherwise. Formats that must
    be merged are excluded, since merging requires ffmpeg.
    """
    height = config.max_height
    kinds = ("b", "bv") if config.include_audio else ("bv", "b")
    fitting = [f"{kind}[height<={height}]" for kind in kinds]
    larger = [f"{kind}[height>{height}]" for kind in kinds]
    return "/".join((*fitting, *larger, *kinds))


def _argument(value: str) -> str:
    """Return an extractor argument's value. A reference is resolved, and its tokens are registered as secrets.

    Tokens have the form `CLIENT.CONTEXT+TOKEN`, separated by commas. yt-dlp uses the token part alone.
    """
    text = resolve_reference(value)
    if text != value:
        for part in text.split(","):
            remember_secret(part.rpartition("+")[2])
    return text


def options_of(config: DownloadingConfig) -> dict[str, Any]:
    """Return yt-dlp's options for a configuration, and register the secrets among them.

    Raises:
        ConfigError: a reference in the configuration cannot be resolved.
    """
    options: dict[str, Any] = {
        "logger": _Log(),
        "quiet": True,
        "noprogress": True,
        "buffersize": 8192,  # for the first block; yt-dlp doubles it for later ones
        "color": "never",
        "ignoreerrors": False,
        "cachedir": False,
        "usenetrc": False,
        "proxy": "",  # ignore the environment's proxy; only the configured one is used
        "http_headers": {"User-Agent": config.user_agent or USER_AGENT},
        "socket_timeout": config.socket_timeout_seconds,
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "format": format_wanted(config),
        # The lowest sufficient resolution, then h264 before codecs that are slower to decode, then the smallest file.
        "format_sort": [f"res:{config.max_height}", "vcodec:h264", "+size", "+br"],
        "external_downloader": {"default": "native"},
        "hls_prefer_native": True,
        "ffmpeg_location": _NO_FFMPEG,
        "fixup": "never",
        "continuedl": True,
        "overwrites": True,
        "updatetime": False,
        "retries": 0,  # the operation retries, and counts the tries
        "fragment_retries": 2,
        "extractor_retries": 0,
        "file_access_retries": 1,
        "skip_unavailable_fragments": False,
        "restrictfilenames": True,
        "max_filesize": config.max_size_bytes,
        "extractor_args": {
            # Request the approximate dates that channel pages show.
            "youtubetab": {"approximate_date": [""]},
            **{
                extractor: {name: [_argument(value) for value in values] for name, values in arguments.items()}
                for extractor, arguments in config.extractor_args.items()
            },
        },
    }
    if runtime := javascript_runtime():
        options["js_runtimes"] = {"deno": {"path": runtime}}
    if config.proxy is not None:
        proxy = resolve_reference(config.proxy, is_secret=False)
        options["proxy"] = proxy
        if password := urllib.parse.urlsplit(proxy).password:
            remember_secret(urllib.parse.unquote(password))
    if config.cookies is not None:
        # A stream, because yt-dlp writes cookies back and must not change the user's file.
        options["cookiefile"] = io.StringIO(cookie_file_text(config.cookies))
    if config.cookies_from_browser is not None:
        browser, _, profile = config.cookies_from_browser.partition(":")
        options["cookiesfrombrowser"] = (browser, profile or None, None, None)
    return options
