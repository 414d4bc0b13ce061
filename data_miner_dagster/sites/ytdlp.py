"""yt-dlp as a library, behind two questions: which videos does an address hold, and fetch this one.

No option of yt-dlp comes from outside: each is written here, so that no post-processor, exec or file:// can be
smuggled in. One instance a thread is kept, since making one costs 40 ms and a connection is worth keeping.
"""

import logging
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import yt_dlp
import yt_dlp.version
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.utils import YoutubeDLError

from data_miner_dagster import __version__
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.errors import (
    SourceError,
    VideoPermanentError,
    VideoTransientError,
)
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.sites.errors import classify, translate
from data_miner_dagster.sites.keys import is_direct_video_url, key_of_site_video, key_of_url
from data_miner_dagster.sites.redaction import redact, redact_url
from data_miner_dagster.sites.transport import Errand, Guard, GuardedHandler

logger = logging.getLogger("data_miner.sites")

USER_AGENT: Final = f"data-miner/{__version__} (yt-dlp/{yt_dlp.version.__version__})"
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,8}")
_NO_FFMPEG: Final = "/nonexistent/ffmpeg"
"""ffmpeg would open connections of its own, past the address policy; formats that need it are not chosen."""


@dataclass(frozen=True, slots=True)
class FetchedVideo:
    """A file in the folder it was fetched into, not yet proven, and what the site says of it."""

    path: Path
    extractor: str
    format_id: str | None
    url: str  # of the page, redacted
    title: str | None
    channel: str | None
    channel_id: str | None
    licence: str | None
    upload_date: date | None
    duration_seconds: float | None


class _Log:
    """Passes yt-dlp's words on at DEBUG, without secrets."""

    def debug(self, message: str) -> None:
        logger.debug("%s", redact(message))

    info = warning = error = debug


class _GuardedYoutubeDL(yt_dlp.YoutubeDL):  # type: ignore[misc]
    def __init__(self, params: dict[str, Any], guard: Guard) -> None:
        self._guard = guard
        super().__init__(params, auto_init="no_verbose_header")

    def build_request_director(self, handlers: object, preferences: object = None) -> Any:
        """Return a director whose only handler is the guarded one."""

        def guarded(**options: Any) -> GuardedHandler:
            return GuardedHandler(guard=self._guard, **options)

        return super().build_request_director([guarded], None)


def _format_wanted(max_height: int) -> str:
    # Video alone; where a site only has both in one file, that. Nothing here needs merging.
    return f"bv[height<={max_height}]/b[height<={max_height}]/bv[height>{max_height}]/b[height>{max_height}]/bv/b"


def _as_date(value: object) -> date | None:
    try:
        return datetime.strptime(str(value), "%Y%m%d").replace(tzinfo=UTC).date() if value else None
    except ValueError:
        return None


def _text(value: object) -> str | None:
    return " ".join(str(value).split())[:2000] if value not in (None, "") else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None else None


class SiteClient:
    """Lists and fetches under one configuration. Safe to share between threads.

    Args:
        config: the `platform.downloading` section.
        may_request: asked with the host before each connection; False ends the errand.
        on_response: told (host, status, headers) of each answer, before yt-dlp sees it.
    """

    def __init__(
        self,
        config: DownloadingConfig,
        *,
        may_request: Callable[[str], bool] = lambda _host: True,
        on_response: Callable[[str, int, Mapping[str, str]], None] = lambda _host, _status, _headers: None,
    ) -> None:
        self._config = config
        self._may_request = may_request
        self._on_response = on_response
        self._threads = threading.local()
        self._instances: list[_GuardedYoutubeDL] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            instances, self._instances = self._instances, []
        for instance in instances:
            instance.close()

    def __enter__(self) -> "SiteClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _params(self) -> dict[str, Any]:
        config = self._config
        return {
            "logger": _Log(),
            "quiet": True,
            "noprogress": True,
            "no_color": True,
            "color": "never",
            "ignoreerrors": False,
            "cachedir": False,
            "usenetrc": False,
            "proxy": "",  # not the environment's: what is used is what is configured
            "http_headers": {"User-Agent": USER_AGENT},
            "socket_timeout": config.socket_timeout_seconds,
            "noplaylist": True,
            "extract_flat": "in_playlist",
            "lazy_playlist": False,
            "format": _format_wanted(config.max_height),
            "format_sort": [f"res:{config.max_height}", "vcodec:h264", "+size", "+br"],
            "allow_multiple_video_streams": False,
            "check_formats": False,
            "external_downloader": {"default": "native"},
            "hls_prefer_native": True,
            "ffmpeg_location": _NO_FFMPEG,
            "fixup": "never",
            "postprocessors": [],
            "continuedl": True,
            "overwrites": True,
            "updatetime": False,
            "retries": 0,
            "fragment_retries": 2,
            "extractor_retries": 0,
            "file_access_retries": 1,
            "skip_unavailable_fragments": False,
            "concurrent_fragment_downloads": 1,
            "restrictfilenames": True,
            "max_filesize": config.max_size_bytes,
        }

    def _instance(self) -> tuple[_GuardedYoutubeDL, Guard]:
        known: tuple[_GuardedYoutubeDL, Guard] | None = getattr(self._threads, "instance", None)
        if known is None:
            guard = Guard(allowed_private_hosts=self._config.allowed_private_hosts)
            known = _GuardedYoutubeDL(self._params(), guard), guard
            with self._lock:
                self._instances.append(known[0])
            self._threads.instance = known
        return known

    @contextmanager
    def _errand(self, guard: Guard) -> Iterator[Errand]:
        deadline = time.monotonic() + self._config.max_wall_seconds
        with Errand(deadline, self._may_request, self._on_response) as errand:
            guard.errand = errand
            try:
                yield errand
            finally:
                guard.errand = None

    # --- listing ---

    def list_url(self, url: str, *, source: str, query: str, found_at: datetime) -> list[VideoCandidate]:
        """Return the videos behind an address, in its order, without downloading any.

        A direct video URL, and a page of an extractor whose pages are single videos, cost no request: what can be
        known of them is known at the download, which extracts once. Playlists, channels and feeds are listed flat.

        Raises:
            SourceError: the address is not http(s), or could not be listed, or lists nothing.
        """
        url = url.strip()
        scheme = urllib.parse.urlsplit(url).scheme.lower()
        if scheme not in ("http", "https"):
            raise SourceError(f"{redact_url(url)}: only http and https addresses are taken, not {scheme or 'none'!r}")
        ydl, guard = self._instance()
        extractor = next(ie for ie in ydl._ies.values() if ie.suitable(url))
        name = str(extractor.IE_NAME)
        if extractor.ie_key() == "Generic":
            if is_direct_video_url(url):
                return [VideoCandidate(key_of_url(url), url, source, query, 0, found_at)]
        elif extractor.is_single_video(url) and (video_id := extractor.get_temp_id(url)):
            return [VideoCandidate(key_of_site_video(name, video_id), url, source, query, 0, found_at)]
        with self._errand(guard):
            try:
                listed = ydl.extract_info(url, download=False, process=False)
                for _ in range(5):  # an address may stand for another
                    if listed.get("_type") not in ("url", "url_transparent"):
                        break
                    listed = ydl.extract_info(listed["url"], download=False, process=False, ie_key=listed.get("ie_key"))
                entries = list(listed["entries"]) if "entries" in listed else [listed]
            except (YoutubeDLError, RequestError, OSError) as error:
                raise SourceError(f"{redact_url(url)}: {classify(error)[1]}") from None
        candidates = [
            candidate
            for rank, entry in enumerate(entries)
            if entry and (candidate := self._candidate(entry, url, source, query, rank, found_at)) is not None
        ]
        if not candidates:
            raise SourceError(f"{redact_url(url)}: lists no video")
        return candidates

    def _candidate(
        self, entry: Mapping[str, Any], listed_url: str, source: str, query: str, rank: int, found_at: datetime
    ) -> VideoCandidate | None:
        is_reference = entry.get("_type", "video") in ("url", "url_transparent")
        url = str(entry["url"] if is_reference else entry.get("webpage_url") or listed_url)
        ydl, _ = self._instance()
        ie_key = str(entry.get("ie_key") or entry.get("extractor_key") or "Generic")
        video_id = entry.get("id")
        if ie_key == "Generic":
            key = key_of_url(url)
        else:
            extractor = ydl.get_info_extractor(ie_key)
            video_id = video_id or extractor.get_temp_id(url)
            key = key_of_site_video(str(extractor.IE_NAME), str(video_id)) if video_id else key_of_url(url)
        thumbnails = entry.get("thumbnails") or ()
        live = entry.get("live_status")
        return VideoCandidate(
            video_key=key,
            url=url,
            source=source,
            query=query,
            rank=rank,
            found_at=found_at,
            title=_text(entry.get("title")),
            channel=_text(entry.get("channel") or entry.get("uploader")),
            channel_id=_text(entry.get("channel_id") or entry.get("uploader_id")),
            licence=_text(entry.get("license")),
            upload_date=_as_date(entry.get("upload_date")),
            duration_seconds=_number(entry.get("duration")),
            view_count=_whole(entry.get("view_count")),
            language=_text(entry.get("language")),
            is_live=live in ("is_live", "is_upcoming") if live else entry.get("is_live"),
            width=_whole(entry.get("width")),
            height=_whole(entry.get("height")),
            tags=tuple(str(tag) for tag in entry.get("tags") or ()),
            description=_text(entry.get("description")),
            thumbnail_url=_text(entry.get("thumbnail") or (thumbnails[-1].get("url") if thumbnails else None)),
        )

    # --- fetching ---

    def fetch(
        self, url: str, folder: Path, *, on_progress: Callable[[int, int | None], None] | None = None
    ) -> FetchedVideo:
        """Download one video into `folder`, going on where an earlier call was cut off.

        Args:
            url: of a page or of a file.
            folder: exists, and belongs to this video alone.
            on_progress: told (bytes so far, bytes in all if known).

        Raises:
            VideoPermanentError, VideoTransientError: with the kind; the message carries no secret.
        """
        ydl, guard = self._instance()
        config = self._config

        def refuse(info: Mapping[str, Any], *, incomplete: bool = False) -> None:
            if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
                raise VideoPermanentError(VideoErrorKind.LIVE, "the video is live or has not started yet")
            duration = _number(info.get("duration"))
            if duration is not None and duration > config.max_duration_seconds:
                raise VideoPermanentError(
                    VideoErrorKind.TOO_LARGE,
                    f"the video lasts {duration:.0f} s, more than max_duration_seconds "
                    f"{config.max_duration_seconds:.0f}",
                )

        def hook(progress: Mapping[str, Any]) -> None:
            done, total = int(progress.get("downloaded_bytes") or 0), progress.get("total_bytes")
            if max(done, int(total or 0)) > config.max_size_bytes:
                raise VideoPermanentError(
                    VideoErrorKind.TOO_LARGE, f"the file is larger than max_size_bytes {config.max_size_bytes}"
                )
            if guard.errand is not None and guard.errand.is_expired:
                raise VideoTransientError(VideoErrorKind.TRANSIENT, f"not done in {config.max_wall_seconds:.0f} s")
            if on_progress is not None:
                on_progress(done, int(total) if total else None)

        template = f"{str(folder).replace('%', '%%')}/%(format_id)s.%(ext)s"
        ydl.params["outtmpl"] = {**ydl.params["outtmpl"], "default": template}
        ydl.params["match_filter"] = refuse
        ydl._progress_hooks = [hook]
        with self._errand(guard) as errand:
            try:
                info = ydl.extract_info(url, download=True)
            except Exception as error:  # noqa: BLE001  # translated: an extractor may raise anything
                if errand.is_expired:
                    raise VideoTransientError(
                        VideoErrorKind.TRANSIENT, f"not done in max_wall_seconds {config.max_wall_seconds:.0f}"
                    ) from None
                raise translate(error) from None
        downloads = info.get("requested_downloads") if info else None
        if not downloads:
            if info and "entries" in info:
                raise VideoPermanentError(
                    VideoErrorKind.UNSUPPORTED, "the address holds several videos; list it as a playlist"
                )
            raise VideoPermanentError(
                VideoErrorKind.TOO_LARGE if info else VideoErrorKind.UNSUPPORTED,
                f"nothing was downloaded: larger than max_size_bytes {config.max_size_bytes}"
                if info
                else "nothing was downloaded: the page holds no video",
            )
        path = Path(downloads[0]["filepath"])
        if not path.exists():
            raise VideoPermanentError(
                VideoErrorKind.TOO_LARGE, f"nothing was downloaded: larger than max_size_bytes {config.max_size_bytes}"
            )
        extension = path.suffix.lower().removeprefix(".")
        target = folder / f"video.{extension if _EXTENSION.fullmatch(extension) else 'bin'}"
        path.replace(target)
        return FetchedVideo(
            path=target,
            extractor=str(info.get("extractor") or "generic"),
            format_id=_text(downloads[0].get("format_id")),
            url=redact_url(str(info.get("webpage_url") or url)),
            title=_text(info.get("title")),
            channel=_text(info.get("channel") or info.get("uploader")),
            channel_id=_text(info.get("channel_id") or info.get("uploader_id")),
            licence=_text(info.get("license")),
            upload_date=_as_date(info.get("upload_date")),
            duration_seconds=_number(info.get("duration")),
        )
