"""Restrictions on yt-dlp in this process: it loads no plugins, and uses only the listed programs and protocols.

The restrictions take effect when this module is imported, before the first YoutubeDL is created. Does not belong here:
yt-dlp's options (guarded_ydl.py), or its connections (transport.py).
"""

import errno
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from yt_dlp import downloader
from yt_dlp.globals import all_plugins_loaded, plugin_dirs
from yt_dlp.utils import ExtractorError, Popen, determine_protocol

PROTOCOLS: Final = frozenset(
    {"http", "https", "m3u8", "m3u8_native", "http_dash_segments", "ism", "f4m", "mhtml"}  # mhtml: storyboards
)
"""The format protocols that fetch every byte through the guarded handler. Others, such as rtmp, mms, rtsp and ws, open
their own sockets or run a program that does."""
_PROGRAMS: Final = frozenset({"deno", "kwallet-query", "dbus-send", "security"})
"""The programs that yt-dlp may run. deno runs YouTube's scripts. The others read the key to a browser's cookies, and
run only if the user sets `cookies_from_browser`."""


def served_formats(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return extracted metadata without the formats whose protocols are not allowed.

    Raises:
        ExtractorError: the video has formats, but none of them uses an allowed protocol.
    """
    forms = info.get("formats") or ([info] if info.get("url") else [])
    kept = [form for form in forms if _protocol_of(form) in PROTOCOLS]
    if forms and not kept:
        offered = {_protocol_of(form) for form in forms}
        raise ExtractorError(
            f"the video is offered only over unsupported protocols ({', '.join(sorted(offered))}); videos are fetched "
            "over HTTP (as a file, HLS, DASH, ISM or F4M)",
            expected=True,
        )
    return {**info, "formats": kept} if info.get("formats") else dict(info)


def _protocol_of(form: Mapping[str, Any]) -> str:
    try:
        return str(determine_protocol(form))
    except (KeyError, TypeError, ValueError):  # not a valid address
        return "no address"


def _limit_programs() -> None:
    start = Popen.__init__

    def guarded(self: Any, args: Any, *rest: Any, **options: Any) -> None:
        program = PurePath(args if isinstance(args, str) else args[0]).name
        if program not in _PROGRAMS or options.get("shell"):
            # Behave as if the program were not installed, which yt-dlp handles.
            raise FileNotFoundError(errno.ENOENT, "data-miner does not run this program", program)
        start(self, args, *rest, **options)

    Popen.__init__ = guarded


def _limit_downloaders() -> None:
    # rtmpdump bypasses `Popen`. A protocol without an entry is requested over HTTP, which refuses its scheme.
    for protocol in {*downloader.PROTOCOL_MAP} - PROTOCOLS | {"m3u8"}:  # `m3u8` would use ffmpeg
        del downloader.PROTOCOL_MAP[protocol]


plugin_dirs.value = []
all_plugins_loaded.value = True
_limit_programs()
_limit_downloaders()
