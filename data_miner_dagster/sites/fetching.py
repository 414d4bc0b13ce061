"""What any fetch is held to; and an address that names a video file, fetched in one request.

Does not belong here: connections (transport.py), extractors (client.py).
"""

import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from yt_dlp.downloader.http import HttpFD

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.foreign_text import clean_number
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.sites.guarded_ydl import GuardedYoutubeDL
from data_miner_dagster.sites.metadata import duration_of, is_live
from data_miner_dagster.sites.transport import Errand


class _QuietHttpFD(HttpFD):  # type: ignore[misc]
    """yt-dlp's downloader of a file without the progress lines that nobody sees: most of its time for a small file."""

    def report_progress(self, s: Mapping[str, Any]) -> None:
        pass


def fetch_direct(
    ydl: GuardedYoutubeDL,
    errand: Errand,
    url: str,
    folder: Path,
    config: DownloadingConfig,
    refuse: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Fetch an address that names a video file in one request: yt-dlp's downloader without its extraction.

    yt-dlp itself asks the server twice. What comes may yet be a page: the caller looks.
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
        "http_headers": dict(ydl.params["http_headers"]),
    }
    refuse(info)
    errand.refuses_opt_outs = config.politeness.respect_page_opt_outs
    path = folder / f"direct.{info['ext']}"
    downloader = _QuietHttpFD(ydl, ydl.params)
    for hook in ydl._progress_hooks:
        downloader.add_progress_hook(hook)
    is_there, _ = downloader.download(str(path), info)
    errand.refuses_opt_outs = False
    info["requested_downloads"] = [{"filepath": str(path), "format_id": "direct"}] if is_there else []
    if not is_there:
        raise too_large(config)  # yt-dlp passes over files larger than max_filesize without a word
    return info


def is_page(info: Mapping[str, Any]) -> bool:
    """Return whether what was fetched for a video file is a page, or a playlist of one."""
    with Path(info["requested_downloads"][0]["filepath"]).open("rb") as file:
        head = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith((b"<!doctype html", b"<html", b"<head", b"#extm3u", b"<?xml", b"<mpd"))


def too_large(config: DownloadingConfig) -> VideoPermanentError:
    """Return the error of a file that is larger than the configuration allows."""
    return VideoPermanentError(
        VideoErrorKind.TOO_LARGE, f"the file is larger than max_size_bytes {config.max_size_bytes}"
    )


def check_limits(info: Mapping[str, Any], config: DownloadingConfig) -> None:
    """Raise if what a page says of a video forbids its download: it is live, too long or too large.

    Raises:
        VideoPermanentError: LIVE or TOO_LARGE.
    """
    if is_live(info):
        raise VideoPermanentError(VideoErrorKind.LIVE, "the video is live or has not started yet")
    duration = duration_of(info)
    if duration is not None and duration > config.max_duration_seconds:
        raise VideoPermanentError(
            VideoErrorKind.TOO_LARGE,
            f"the video lasts {duration:.0f} s, more than max_duration_seconds {config.max_duration_seconds:g}",
        )
    if (clean_number(info.get("filesize")) or 0) > config.max_size_bytes:
        raise too_large(config)
