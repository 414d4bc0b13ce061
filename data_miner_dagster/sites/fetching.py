"""Apply limits to every fetch, and fetch a direct file address in a single request.

Does not belong here: connections (transport.py), or extractors (client.py).
"""

import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from yt_dlp.downloader.http import HttpFD
from yt_dlp.utils import DownloadError

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.errors import VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.foreign_text import clean_number, clean_text
from data_miner_dagster.domain.keys import video_file_name
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.sites.guarded_ydl import GuardedYoutubeDL
from data_miner_dagster.sites.metadata import duration_of, is_live
from data_miner_dagster.sites.records import FetchedVideo
from data_miner_dagster.sites.redaction import redact_url
from data_miner_dagster.sites.transport import Errand

_EXTENSION: Final = re.compile(r"[a-z0-9]{1,8}")
_TO_ACCEPT: Final = "to accept it, raise the limit, then run `data-miner retry --kind too_large`"


class _QuietHttpFD(HttpFD):  # type: ignore[misc]
    """yt-dlp's file downloader without progress lines, which nobody sees and which slow down small files."""

    def report_progress(self, s: Mapping[str, Any]) -> None:
        pass


class Admission:
    """A `match_filter` for yt-dlp that refuses videos by their metadata before any of the video is fetched.

    Args:
        config: the `platform.downloading` section, with its limits.
        described: converts a page's metadata to a candidate.
        accept: raises if the caller does not want the video.
    """

    def __init__(
        self,
        config: DownloadingConfig,
        described: Callable[[Mapping[str, Any]], VideoCandidate],
        accept: Callable[[VideoCandidate], None],
    ) -> None:
        self.config = config
        self.refusal: Exception | None = None
        """The first refusal that was raised, stored here because yt-dlp may wrap it in another exception."""
        self._described = described
        self._accept = accept

    def __call__(self, info: Mapping[str, Any], **_: object) -> None:
        """Raise if the video must not be downloaded.

        Raises:
            VideoPermanentError: the video is live, or exceeds a limit of the configuration.
            Exception: `accept` refuses the video with this exception.
        """
        try:
            check_limits(info, self.config)
            self._accept(self._described(info))
        except Exception as error:
            self.refusal = self.refusal or error
            raise


def fetch_direct(ydl: GuardedYoutubeDL, errand: Errand, url: str, folder: Path, admission: Admission) -> dict[str, Any]:
    """Fetch a direct video URL in one request, using yt-dlp's downloader but not its extractors.

    yt-dlp itself would send two requests. The result is metadata in yt-dlp's form, including the path of the file. The
    file may be a web page, so the caller must check it (see `is_page`). If the server reports an empty file, an empty
    file is written.

    Raises:
        VideoPermanentError: the file is larger than the configuration allows.
        DownloadError: yt-dlp's downloader failed.
        Exception: `admission` refuses the video with this exception.
    """
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    stem, _, extension = name.rpartition(".")
    info: dict[str, Any] = {
        "id": stem,
        "title": stem.replace("_", " "),
        "url": url,
        "ext": extension.lower(),
        "format_id": "direct",
        "protocol": "http",
        "extractor": "generic",
        "direct": True,
        "http_headers": dict(ydl.params["http_headers"]),
    }
    admission(info)
    errand.refuses_opt_outs = admission.config.politeness.respect_page_opt_outs
    path = folder / f"direct.{info['ext']}"
    downloader = _QuietHttpFD(ydl, ydl.params)
    for hook in ydl._progress_hooks:  # noqa: SLF001 - as yt-dlp passes them to its downloaders
        downloader.add_progress_hook(hook)
    try:
        is_there, _ = downloader.download(str(path), info)
    except DownloadError:
        if errand.promised_bytes != 0:
            raise
        path.touch()  # yt-dlp creates no file for empty content
        is_there = True
    errand.refuses_opt_outs = False
    info["requested_downloads"] = [{"filepath": str(path), "format_id": "direct"}] if is_there else []
    if not is_there:
        raise too_large(admission.config)  # yt-dlp silently skips files larger than max_filesize
    return info


def is_page(info: Mapping[str, Any]) -> bool:
    """Return whether a file that was fetched as a video is actually a web page, playlist or manifest."""
    with Path(info["requested_downloads"][0]["filepath"]).open("rb") as file:
        head = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith((b"<!doctype html", b"<html", b"<head", b"#extm3u", b"<?xml", b"<mpd"))


def too_large(config: DownloadingConfig) -> VideoPermanentError:
    """Return the error for a file larger than the configuration allows."""
    return VideoPermanentError(
        VideoErrorKind.TOO_LARGE,
        f"the file is larger than platform.downloading.max_size_bytes={config.max_size_bytes}; {_TO_ACCEPT}",
    )


def too_slow(config: DownloadingConfig) -> VideoTransientError:
    """Return the error for a download that takes longer than the configuration allows."""
    return VideoTransientError(
        VideoErrorKind.TRANSIENT,
        f"the download took longer than platform.downloading.max_wall_seconds={config.max_wall_seconds:g}, so it was "
        "stopped; the next attempt resumes it",
    )


def check_limits(info: Mapping[str, Any], config: DownloadingConfig) -> None:
    """Check that a page's metadata allows the download.

    Raises:
        VideoPermanentError: the video is live (kind LIVE), or too long or too large (kind TOO_LARGE).
    """
    if is_live(info):
        setting = f"platform.downloading.unavailable_retry_days={config.unavailable_retry_days}"
        wait = f", or wait for the retry ({setting})" if config.unavailable_retry_days is not None else ""
        raise VideoPermanentError(
            VideoErrorKind.LIVE,
            f"the video is live or has not started yet; once it has ended, run `data-miner retry --kind live`{wait}",
        )
    duration = duration_of(info)
    if duration is not None and duration > config.max_duration_seconds:
        raise VideoPermanentError(
            VideoErrorKind.TOO_LARGE,
            f"the video lasts {duration:.0f} s, more than platform.downloading.max_duration_seconds="
            f"{config.max_duration_seconds:g}; {_TO_ACCEPT}",
        )
    if (clean_number(info.get("filesize")) or 0) > config.max_size_bytes:
        raise too_large(config)


def fetched_video(
    info: Mapping[str, Any] | None,
    folder: Path,
    config: DownloadingConfig,
    described: Callable[[Mapping[str, Any]], VideoCandidate],
    promised_bytes: int | None,
) -> FetchedVideo:
    """Rename the file from yt-dlp to follow our naming scheme, and return it with the page's metadata.

    Args:
        info: yt-dlp's metadata for the video, or None if the page has no video.
        folder: the folder that contains the file.
        config: the `platform.downloading` section.
        described: converts `info` to a candidate.
        promised_bytes: the file size that the server stated, or None.

    Raises:
        VideoPermanentError: the page has no video or several (kind UNSUPPORTED), or yt-dlp skipped the file because of
            its size (kind TOO_LARGE).
    """
    if not info:
        raise VideoPermanentError(
            VideoErrorKind.UNSUPPORTED, "nothing was downloaded, because the page has no video; correct the address"
        )
    if "entries" in info:
        raise VideoPermanentError(
            VideoErrorKind.UNSUPPORTED,
            "the address leads to several videos; give it as a source of type `playlists` to download them",
        )
    downloads: list[Mapping[str, Any]] = info.get("requested_downloads") or []
    path = Path(downloads[0]["filepath"]) if downloads else None
    if path is None or not path.exists():  # yt-dlp silently skips files larger than max_filesize
        raise too_large(config)
    extension = path.suffix.lower().removeprefix(".")
    target = folder / video_file_name(extension if _EXTENSION.fullmatch(extension) else "bin")
    path.replace(target)
    candidate = described(info)
    return FetchedVideo(
        path=target,
        extractor=str(info.get("extractor") or "generic"),
        format_id=clean_text(downloads[0].get("format_id"), 100),
        candidate=replace(candidate, url=redact_url(clean_text(info.get("webpage_url")) or candidate.url)),
        is_direct=_is_direct(info),
        is_complete=promised_bytes == target.stat().st_size,
    )


def _is_direct(info: Mapping[str, Any]) -> bool:
    """Return whether the requested address names the file itself rather than a page that refers to the file."""
    is_one_address = info.get("original_url") == info.get("webpage_url")
    return info.get("extractor") == "generic" and info.get("direct") is True and is_one_address
